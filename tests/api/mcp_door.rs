//! MCP over HTTP: who is let in, and what is a message.

use std::time::Duration;

use crm_backend::config::McpSettings;
use crm_backend::mcp::Entrance;
use crm_backend::pb::AccessScope;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::credentials::{ISSUER, with_keys, with_tokens};
use crate::support::issuer::SigningKey;
use crate::support::mcp::{Agent, Answered, WITH_HANDSHAKE, WITHOUT_HANDSHAKE};
use crate::support::service::defaults;
use crate::support::{Crm, Settings, eventually};

fn list() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}})
}

/// Sends the head of a request with a body that never comes, and returns what is answered.
async fn answer_without_a_body(crm: &Crm, headers: &str) -> String {
    let mut tcp = TcpStream::connect(crm.address()).await.expect("the service listens");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n{headers}\r\n"
    );
    tcp.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let read = tokio::time::timeout(Duration::from_secs(2), tcp.read(&mut answer)).await;
    let read = read.map_or(0, |read| read.expect("an open connection"));
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_known_before_the_body_is_read() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, secret) = crm.key(&tenant, [AccessScope::Read], None).await;
    let answer = answer_without_a_body(&crm, "").await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("CREDENTIAL_REQUIRED"), "{answer}");
    assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    let answer = answer_without_a_body(&crm, "authorization: Bearer crm_made_up\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("CREDENTIAL_INVALID"), "{answer}");
    let answer = answer_without_a_body(&crm, &format!("authorization: Bearer {secret}\r\n")).await;
    assert_eq!(answer, "", "the body of a known caller is waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_ends_with_the_deadline() {
    let crm = Crm::with(Settings {
        limits: |limits| limits.default_deadline = Duration::from_millis(300),
        ..Settings::default()
    })
    .await;
    let answer = answer_without_a_body(&crm, "").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_among_streams_and_refused_when_there_are_too_many() {
    let crm =
        Crm::with(Settings { limits: |limits| limits.calls.max_streams = 1, ..Settings::default() }).await;
    let mut waiting = TcpStream::connect(crm.address()).await.expect("the service listens");
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n";
    waiting.write_all(head.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let agent = crm.agent(&crm.tenant());
    let refused = agent.post(list().to_string(), &[]).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    assert!(refused.text.contains("OVERLOADED") && refused.header("retry-after") == "1", "{refused:?}");
    drop(waiting);
    eventually("the place is free", async || {
        agent.post(list().to_string(), &[]).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_refused_with_what_to_send() {
    let crm = Crm::start().await;
    let agent = crm.agent(&crm.tenant());
    for (body, code, part) in [
        ("", -32_700, "not JSON"),
        ("{", -32_700, "line 1"),
        ("7", -32_600, "not a message"),
        ("null", -32_600, "not a message"),
        ("{}", -32_600, "\"jsonrpc\": \"2.0\""),
        ("{\"jsonrpc\": \"1.0\", \"id\": 1, \"method\": \"tools/list\"}", -32_600, "not a message"),
        ("{\"jsonrpc\": \"2.0\", \"id\": {}, \"method\": \"tools/list\"}", -32_600, "not a message"),
        ("[{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"ping\"}]", -32_600, "batch"),
    ] {
        let refused = agent.post(body, &[]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}: {refused:?}");
        assert_eq!(refused.json()["error"]["code"], code, "{body}");
        assert!(refused.error().contains(part), "{body}: {refused:?}");
    }
    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "y".repeat(1 << 20)}});
    let refused = agent.post(large.to_string(), &[]).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE, "{refused:?}");
    let refused = agent.get("/mcp").await;
    assert_eq!((refused.status, refused.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    let unknown = agent.ask("no/such", json!({})).await;
    assert_eq!(unknown.json()["error"]["code"], -32_601, "{unknown:?}");
    let notified =
        agent.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string(), &[]).await;
    assert_eq!((notified.status, notified.text.as_str()), (StatusCode::ACCEPTED, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_revision_of_the_protocol_is_spoken() {
    let crm = Crm::start().await;
    let agent = crm.agent(&crm.tenant());
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", WITH_HANDSHAKE] {
        let client = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client});
        let answered = agent.post(hello.to_string(), &[]).await;
        let result = &answered.json()["result"];
        assert_eq!(result["protocolVersion"], revision, "{answered:?}");
        assert_eq!(result["serverInfo"]["name"], "crm-backend");
        assert!(result["instructions"].as_str().is_some_and(|text| text.contains("find_customers")));
        assert!(answered.headers.get("mcp-session-id").is_none(), "there are no sessions");
        let answered = agent.post(list().to_string(), &[("mcp-protocol-version", revision)]).await;
        assert_eq!(answered.json()["result"]["tools"].as_array().map(Vec::len), Some(11), "{answered:?}");
    }
    let answered = agent.post(list().to_string(), &[]).await;
    assert_eq!(answered.status, StatusCode::OK, "a client without the header is of 2025-03-26");
    let refused = agent.post(list().to_string(), &[("mcp-protocol-version", "1999-01-01")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{refused:?}");
}

/// A request of the revision without a handshake.
async fn modern(agent: &Agent, method: &str, mut params: Value, headers: &[(&str, &str)]) -> Answered {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": WITHOUT_HANDSHAKE,
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let standard = [("mcp-protocol-version", WITHOUT_HANDSHAKE), ("mcp-method", method)];
    agent.post(body.to_string(), &[&standard, headers].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_revision_without_a_handshake_is_spoken() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let agent = crm.agent(&tenant);
    tenant.customer("Café Zoë").await;
    let discovered = modern(&agent, "server/discover", json!({}), &[]).await.json();
    let versions = discovered["result"]["supportedVersions"].to_string();
    assert!(versions.contains(WITHOUT_HANDSHAKE) && versions.contains(WITH_HANDSHAKE), "{discovered}");
    let listed = modern(&agent, "tools/list", json!({}), &[]).await.json();
    assert_eq!(listed["result"]["cacheScope"], "private", "{listed}");
    assert!(listed["result"]["ttlMs"].is_u64(), "{listed}");
    let call = json!({"name": "find_customers", "arguments": {}});
    let called = modern(&agent, "tools/call", call.clone(), &[("mcp-name", "find_customers")]).await.json();
    assert!(
        called["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("Café Zoë")),
        "{called}"
    );
    let refused = modern(&agent, "tools/call", call, &[("mcp-name", "save_customer")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "the header is not the body: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_host_gets_nothing() {
    let crm = Crm::start().await;
    let agent = crm.agent(&crm.tenant());
    for (headers, part) in [
        ([("host", "evil.example"), ("origin", "http://evil.example")].as_slice(), "--mcp-hosts"),
        (&[("origin", "http://evil.example")], "--mcp-origins"),
        (&[("origin", "null")], "--mcp-origins"),
    ] {
        let refused = agent.post(list().to_string(), headers).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
        assert!(refused.error().contains(part), "{refused:?}");
    }
    for headers in [[("host", "localhost:1234")].as_slice(), &[("origin", "http://localhost:6274")]] {
        assert_eq!(agent.post(list().to_string(), headers).await.status, StatusCode::OK, "{headers:?}");
    }
    let settings = McpSettings { mcp_hosts: vec!["crm.example.com".to_owned()], ..McpSettings::default() };
    let entrance = Entrance::new(&settings, &defaults().auth, false);
    let crm = Crm::with(Settings { entrance: Some(entrance), ..Settings::default() }).await;
    let answered = crm.agent(&crm.tenant()).post(list().to_string(), &[("host", "crm.example.com")]).await;
    assert_eq!(answered.status, StatusCode::OK, "{answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_token_is_told_who_makes_them() {
    let key = SigningKey::es256("one");
    let crm = with_tokens(&key).await;
    let agent = crm.agent(&crm.tenant());
    let refused = agent.post(list().to_string(), &[]).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");
    let url = format!("http://{}/.well-known/oauth-protected-resource/mcp", crm.address());
    assert_eq!(refused.header("www-authenticate"), format!("Bearer resource_metadata=\"{url}\""));
    for path in ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"] {
        let metadata = agent.get(path).await;
        assert_eq!(metadata.status, StatusCode::OK, "{metadata:?}");
        assert_eq!(metadata.json()["resource"], format!("http://{}/mcp", crm.address()));
        assert_eq!(metadata.json()["authorization_servers"], json!([ISSUER]));
    }
    let without = with_keys().await;
    let agent = without.agent(&without.tenant());
    assert_ne!(agent.get("/.well-known/oauth-protected-resource").await.status, StatusCode::OK);
    assert_eq!(agent.post(list().to_string(), &[]).await.header("www-authenticate"), "Bearer");
}
