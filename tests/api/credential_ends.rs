//! A stream ends with its credential, and loses nothing that was received.

use std::time::Duration;

use crm_backend::auth::Authenticator;
use crm_backend::pb::add_message_response::Result as Answer;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_reflection::pb::v1;

use crate::support::citus::Citus;
use crate::support::conversations::{Stream, message};
use crate::support::credentials::{
    ALL, Files, bounds, claims, claims_but, in_seconds, tokens_by, with_keys, with_tokens,
};
use crate::support::issuer::{SigningKey, jwks};
use crate::support::watch::{BEGINNING, Watch};
use crate::support::{Crm, Refusal, Settings, Tenant, eventually, soon};

/// Returns how an AddMessage stream ends, after all other answers.
async fn end_of(stream: &mut Stream) -> Status {
    loop {
        match soon(stream.answer()).await {
            Ok(Some(Answer::Ack(_))) => {}
            Ok(other) => panic!("not the end of a credential: {other:?}"),
            Err(status) => return status,
        }
    }
}

/// Returns the lifetime of a credential in seconds: longer than the steps before its end take.
fn lifetime() -> u32 {
    if Citus::is_there() { 10 } else { 3 }
}

/// Returns how a watch ends.
async fn end_of_watch(watch: &mut Watch) -> Status {
    loop {
        match soon(watch.try_next()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a watch that ends with OK"),
            Err(status) => return status,
        }
    }
}

/// Checks that both streams with a credential, and a message in progress, end for this reason.
async fn streams_end(tenant: &Tenant, ending: &Tenant, end: impl AsyncFnOnce(), reason: &str) {
    let talk = tenant.conversation().await;
    let mut watch = ending.watch(&talk.id, BEGINNING).await;
    let mut stream = ending.stream().await;
    stream.send(&talk.id, message("1", "Hello"));
    stream.outcome().await.expect("an ack");
    stream.start(&talk.id, "2").await;
    stream.delta(&talk.id, "2", 0, "Is anybody there?");
    // It was received, and is stored a moment later.
    watch.until(|log| log.messages.last().is_some_and(|it| it.content.ends_with("there?"))).await;
    end().await;
    end_of(&mut stream).await.is(Code::Unauthenticated, reason);
    end_of_watch(&mut watch).await.is(Code::Unauthenticated, reason);
    let texts: Vec<_> = tenant.messages(&talk.id, 0).await.into_iter().map(|it| it.content).collect();
    assert_eq!(texts, ["Hello", "Is anybody there?"], "what was received is committed");
    ending.list(Default::default()).await.expect_err("it has ended").is(Code::Unauthenticated, reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_token_does() {
    let key = SigningKey::ed25519("1");
    let crm = with_tokens(&key).await;
    let tenant = crm.tenant();
    let tenant = tenant.with(&key.sign(&claims(tenant.id, "read write")));
    tenant.customer("The connection is there").await;
    let short = claims_but(tenant.id, "exp", in_seconds(lifetime().into()).into());
    let ending = tenant.with(&key.sign(&short));
    streams_end(&tenant, &ending, async || {}, "CREDENTIAL_EXPIRED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_key_of_their_token_is_taken_back() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let files = Files::new();
    let set = files.write("keys.json", jwks(&[&old, &new]));
    let authenticator =
        Authenticator::open(&tokens_by(&["--jwt-jwks-file", &set]), bounds()).await.expect("keys");
    let crm = Crm::with(Settings { authenticator: authenticator.clone(), ..Settings::default() }).await;
    let tenant = crm.tenant();
    let (ending, tenant) = (
        tenant.with(&old.sign(&claims(tenant.id, "read write"))),
        tenant.with(&new.sign(&claims(tenant.id, "read write"))),
    );
    let talk = tenant.conversation().await;
    let mut watch = ending.watch(&talk.id, BEGINNING).await;
    let mut other = tenant.watch(&talk.id, BEGINNING).await;
    files.write("keys.json", jwks(&[&new]));
    authenticator.reload().expect("a good file");
    end_of_watch(&mut watch).await.is(Code::Unauthenticated, "CREDENTIAL_REVOKED");
    tenant.add(&talk.id, message("1", "Hello")).await.expect("added");
    other.until_messages(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_their_key_is_revoked_and_those_of_others_do_not() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, staying) = crm.key(&tenant, ALL, None).await;
    let (id, leaving) = crm.key(&tenant, ALL, None).await;
    let (tenant, ending) = (tenant.with(&staying), tenant.with(&leaving));
    let talk = tenant.conversation().await;
    let mut other = tenant.watch(&talk.id, BEGINNING).await;
    streams_end(&tenant, &ending, async || crm.revoke(id).await, "CREDENTIAL_REVOKED").await;
    tenant.add(&talk.id, message("1", "Hello")).await.expect("added");
    other.until_messages(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_their_key_does() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, staying) = crm.key(&tenant, ALL, None).await;
    let staying = tenant.with(&staying);
    staying.customer("The connection is there").await;
    let (_, short) = crm.key(&tenant, ALL, Some(Duration::from_secs(lifetime().into()))).await;
    streams_end(&staying, &tenant.with(&short), async || {}, "CREDENTIAL_EXPIRED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_ends_with_its_credential_too() {
    let crm = with_keys().await;
    let (id, secret) = crm.key(&crm.tenant(), ALL, None).await;
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut request = tonic::Request::new(tokio_stream::once(ask).chain(tokio_stream::pending()));
    let bearer = format!("Bearer {secret}").parse().expect("a header value");
    request.metadata_mut().insert("authorization", bearer);
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(crm.channel());
    let mut answers = client.server_reflection_info(request).await.expect("granted").into_inner();
    soon(answers.message()).await.expect("an answer").expect("an answer");
    crm.revoke(id).await;
    let end = soon(answers.message()).await.expect_err("it ends");
    end.is(Code::Unauthenticated, "CREDENTIAL_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_after_the_end_of_a_credential_is_not_taken() {
    let crm = with_keys().await;
    let tenant = crm.tenant();
    let (_, staying) = crm.key(&tenant, ALL, None).await;
    let (id, leaving) = crm.key(&tenant, ALL, None).await;
    let staying = tenant.with(&staying);
    let talk = staying.conversation().await;
    let mut stream = tenant.with(&leaving).stream().await;
    stream.send(&talk.id, message("before", "Hello"));
    eventually("it is committed", || async {
        staying.read(&talk.id).await.expect("there").message_count == 1
    })
    .await;
    crm.revoke(id).await;
    eventually("the key is refused", || async {
        tenant.with(&leaving).list(Default::default()).await.is_err()
    })
    .await;
    stream.send("", message("after", "Hello"));
    end_of(&mut stream).await.is(Code::Unauthenticated, "CREDENTIAL_REVOKED");
    assert_eq!(staying.read(&talk.id).await.expect("there").message_count, 1);
}
