//! Which web pages may call.

use crm_backend::config::McpSettings;
use crm_backend::mcp::Entrance;
use http::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::service::defaults;
use crate::support::web::Web;
use crate::support::{Crm, Settings};

const GET: &str = "/crm.v1.CustomerService/GetCustomer";

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_settings_may_call_and_no_others() {
    let origins = |origins: &[&str]| Settings {
        cors_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        ..Settings::default()
    };
    let (app, evil) = ("https://app.example.com", "https://evil.example");
    for (allowed, origin, expected) in
        [(&[][..], app, ""), (&[app][..], app, app), (&[app], evil, ""), (&["*"], evil, "*")]
    {
        let crm = Crm::with(origins(allowed)).await;
        let page = Web::new(&crm, crm.tenant().id).with("origin", origin);
        let asked = page
            .with("access-control-request-method", "POST")
            .with("access-control-request-headers", "content-type,x-tenant-id")
            .send(Method::OPTIONS, GET, None)
            .await;
        assert_eq!(asked.header("access-control-allow-origin"), expected, "{allowed:?} {origin}");
        let error = page.post(GET, json!({"id": Uuid::now_v7()})).await;
        assert_eq!(error.status, 404, "{error:?}");
        assert_eq!(error.header("access-control-allow-origin"), expected);
        let listed = page.get("/api/v1/customers").await;
        assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, expected));
        if expected.is_empty() {
            assert_eq!(asked.header("access-control-allow-headers"), "");
            continue;
        }
        assert_eq!(asked.status, 204);
        assert_eq!(asked.header("access-control-allow-headers"), "content-type,x-tenant-id");
        assert!(asked.header("access-control-allow-methods").contains("PATCH"), "{asked:?}");
        for name in
            ["grpc-status", "grpc-message", "grpc-status-details-bin", "etag", "x-request-id", "retry-after"]
        {
            assert!(error.header("access-control-expose-headers").contains(name), "{name}");
        }
        let vary: Vec<_> = error.headers.get_all("vary").iter().collect();
        assert!(vary.iter().any(|value| *value == "origin"), "{vary:?}");
    }
}

/// What a browser asks before a page of an agent sends a message.
const OF_AGENTS: &str = "authorization,content-type,last-event-id,mcp-protocol-version,mcp-session-id";

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_agents_have_origins_of_their_own() {
    let (app, page) = ("https://agent.example.com", "https://app.example.com");
    let settings = McpSettings { mcp_origins: vec![app.to_owned()], ..McpSettings::default() };
    let entrance = Entrance::new(&settings, &defaults().auth, false);
    let crm = Crm::with(Settings {
        entrance: Some(entrance),
        cors_origins: vec![page.to_owned()],
        ..Settings::default()
    })
    .await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for (origin, path, expected) in [
        (app, "/mcp", app),
        ("http://localhost:6274", "/mcp", "http://localhost:6274"),
        (page, "/mcp", ""),
        (page, GET, page),
        (app, GET, ""),
    ] {
        let client = Web::new(&crm, crm.tenant().id).with("origin", origin);
        let asked = client
            .with("access-control-request-method", "POST")
            .with("access-control-request-headers", OF_AGENTS)
            .send(Method::OPTIONS, path, None)
            .await;
        assert_eq!(asked.header("access-control-allow-origin"), expected, "{origin} {path}");
        let is_allowed = !expected.is_empty();
        assert_eq!(asked.header("access-control-allow-headers"), if is_allowed { OF_AGENTS } else { "" });
        if path != "/mcp" {
            continue;
        }
        let answer = client.post(path, ping.clone()).await;
        assert_eq!(answer.status, if is_allowed { 200 } else { 403 }, "{origin}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), expected, "{origin}");
        for name in ["mcp-session-id", "www-authenticate", "x-request-id"] {
            assert_eq!(answer.header("access-control-expose-headers").contains(name), is_allowed, "{name}");
        }
    }
}

/// A page has to read who makes tokens before it has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_agent_may_read_why_it_is_refused() {
    let crm = crate::support::credentials::with_keys().await;
    let client = Web::stranger(&crm).with("origin", "http://localhost:6274");
    let refused = client.post("/mcp", json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(refused.header("access-control-allow-origin"), "http://localhost:6274");
}
