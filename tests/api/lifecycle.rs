//! Health, reflection, overload, clients that leave, and the shutdown of the service.

use std::time::{Duration, Instant};

use crm_backend::pb::add_message_response::Result as Answer;
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use crate::support::conversations::message;
use crate::support::customers::named;
use crate::support::postgres::waiting_statements;
use crate::support::raw::CONTRACT;
use crate::support::{Crm, PATIENCE, Refusal, Settings, eventually, soon};

/// Returns the names of the services of the contract.
fn services() -> Vec<String> {
    let ours = CONTRACT.services().filter(|service| service.package_name() == "crm.v1");
    ours.map(|service| service.full_name().to_owned()).collect()
}

async fn watch(crm: &Crm, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(crm.channel()).watch(request).await.expect("health is open").into_inner()
}

/// Waits until all services are healthy.
async fn healthy(crm: &Crm) {
    for service in services() {
        let mut health = watch(crm, &service).await;
        while soon(health.next()).await.expect("it goes on").expect("an answer").status()
            != ServingStatus::Serving
        {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_healthy_until_the_shutdown() {
    let mut crm = Crm::start().await;
    let mut watches = Vec::new();
    healthy(&crm).await;
    for service in [vec![String::new()], services()].concat() {
        watches.push(watch(&crm, &service).await);
        let request = HealthCheckRequest { service };
        let answer = HealthClient::new(crm.channel()).check(request).await.expect("known").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let request = HealthCheckRequest { service: "crm.v1.Nonsense".to_owned() };
    let unknown = HealthClient::new(crm.channel()).check(request).await.expect_err("unknown");
    assert_eq!(unknown.code(), Code::NotFound);
    crm.shut_down().await.expect("a clean end");
    for mut health in watches {
        let first = soon(health.next()).await.expect("the state of the start").expect("an answer");
        assert_eq!(first.status(), ServingStatus::Serving);
        // NOT_SERVING or the end of the stream, whichever comes first; but never SERVING again.
        while let Some(Ok(answer)) = soon(health.next()).await {
            assert_eq!(answer.status(), ServingStatus::NotServing);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_tells_of_every_service_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let crm = Crm::start().await;
    let wanted = [services(), vec!["grpc.health.v1.Health".to_owned()]].concat();

    let ask = |message| v1::ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let list = ask(v1::server_reflection_request::MessageRequest::ListServices(String::new()));
    let file = ask(v1::server_reflection_request::MessageRequest::FileContainingSymbol(
        "crm.v1.Customer".to_owned(),
    ));
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(crm.channel());
    let answers = client.server_reflection_info(tokio_stream::iter([list, file])).await.expect("it answers");
    let mut answers = answers.into_inner();
    let mut next =
        async || soon(answers.message()).await.expect("an answer").and_then(|answer| answer.message_response);
    match next().await {
        Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(services)) => {
            let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
            assert!(wanted.iter().all(|name| names.contains(&name.as_str())), "{names:?}");
        }
        other => panic!("no list: {other:?}"),
    }
    match next().await {
        Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) => {
            assert!(!files.file_descriptor_proto.is_empty());
        }
        other => panic!("no file: {other:?}"),
    }

    let list = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(crm.channel());
    let answers = client.server_reflection_info(tokio_stream::once(list)).await.expect("it answers");
    match soon(answers.into_inner().message())
        .await
        .expect("an answer")
        .and_then(|answer| answer.message_response)
    {
        Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(services)) => {
            assert!(wanted.iter().all(|name| services.service.iter().any(|service| service.name == *name)));
        }
        other => panic!("no list: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_shutdown_streams_are_told_to_go_and_lose_nothing() {
    let mut crm = Crm::start().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let (mut busy, mut idle) = (tenant.stream().await, tenant.stream().await);
    busy.send(&talk.id, message("0", "Hello"));
    busy.outcome().await.expect("an ack");
    for key in 1..200 {
        busy.send("", message(&key.to_string(), "Hello"));
    }
    busy.outcome().await.expect("an ack");
    crm.begin_shutdown();
    let mut acked = 2;
    loop {
        match busy.answer().await.expect("the stream ends with OK") {
            Some(Answer::Ack(ack)) => {
                assert_eq!(ack.message_key, acked.to_string());
                acked += 1;
            }
            Some(Answer::GoAway(go_away)) => {
                assert!(!go_away.reason.is_empty());
                break;
            }
            other => panic!("neither ack nor go_away: {other:?}"),
        }
    }
    assert_eq!(busy.answer().await.expect("OK"), None);
    assert!(matches!(idle.answer().await.expect("OK"), Some(Answer::GoAway(_))));
    assert_eq!(idle.answer().await.expect("OK"), None);
    crm.shut_down().await.expect("a clean end");
    let stored = crm.sql().await.number("SELECT count(*) FROM conversation_messages").await;
    assert_eq!(stored, acked, "what is acked is stored, and what is stored is acked");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_shutdown_calls_may_finish() {
    let mut crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await;
    let mut call = tokio::task::JoinSet::new();
    call.spawn(async move { tenant.create(named("Zoe")).await });
    let other = crm.sql().await;
    waits(&other).await;
    crm.begin_shutdown();
    sql.run("COMMIT").await;
    let created = soon(call.join_next()).await.expect("it ran").expect("no panic");
    assert_eq!(created.expect("it finished").business_name, "Zoe");
    crm.shut_down().await.expect("a clean end");
    assert_eq!(other.number("SELECT count(*) FROM customers").await, 1);
    eventually("all connections are closed", async || connections(&other).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_end_does_not_keep_the_service_from_ending() {
    let settings = Settings { drain: Duration::from_millis(200), ..Settings::default() };
    let mut crm = Crm::with(settings).await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await;
    let mut call = tokio::task::JoinSet::new();
    call.spawn(async move { tenant.create(named("Zoe")).await });
    waits(&crm.sql().await).await;
    let began = Instant::now();
    crm.shut_down().await.expect("an end");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Waits until a connection of the service waits for a lock.
async fn waits(sql: &crm_testkit::Sql) {
    eventually("a call waits for the lock", async || waiting_statements(sql).await > 0).await;
}

async fn connections(sql: &crm_testkit::Sql) -> i64 {
    sql.number(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
         AND application_name = 'crm-backend'",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_clients_gave_up_leave_nothing_open() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let other = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..40 {
        let tenant = tenant.clone();
        calls.spawn(async move { tenant.create(named(&format!("Zoe {number}"))).await });
    }
    waits(&other).await;
    let before = connections(&other).await;
    calls.shutdown().await;
    sql.run("COMMIT").await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND application_name = 'crm-backend' AND state <> 'idle'";
    eventually("nothing is open", async || {
        // The health probe asks from time to time; it does not count here.
        other.number(open).await == 0
    })
    .await;
    // The pool has 8; health, the bus and the caretaker have one each.
    assert!(connections(&other).await <= before.max(11), "no connection was lost and made anew");
    // An abandoned call happened completely or not at all.
    let customers = tenant.list_all(Default::default()).await;
    assert!(
        customers
            .iter()
            .all(|customer| customer.update_time == customer.create_time && !customer.slug.is_empty())
    );
    tenant.customer("And the service is well").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_free_connection_a_call_is_refused_soon_and_health_stays() {
    let settings = Settings { connections: 1, wait: Duration::from_millis(150), ..Settings::default() };
    let crm = Crm::with(settings).await;
    let tenant = crm.tenant();
    healthy(&crm).await;
    let sql = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await;
    let mut call = tokio::task::JoinSet::new();
    let first = tenant.clone();
    call.spawn(async move { first.create(named("Zoe")).await });
    waits(&crm.sql().await).await;
    for _ in 0..3 {
        let began = Instant::now();
        let error = tenant.create(named("Ana")).await.expect_err("no connection is free");
        error.is(Code::Unavailable, "DATABASE_BUSY");
        assert!(error.get_error_details().retry_info().is_some(), "{error:?}");
        assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    }
    let healthy = HealthClient::new(crm.channel()).check(HealthCheckRequest::default()).await;
    assert_eq!(healthy.expect("it answers").into_inner().status(), ServingStatus::Serving);
    sql.run("COMMIT").await;
    let created = soon(call.join_next()).await.expect("it ran").expect("no panic");
    created.expect("the first call finished");
    tenant.customer("Ana").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_to_the_database_heals() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    let sql = crm.sql().await;
    sql.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'crm-backend'",
    )
    .await;
    let began = Instant::now();
    loop {
        match tenant.get(&zoe.id).await {
            Ok(there) => break assert_eq!(there, zoe),
            Err(error) => {
                error.is(Code::Unavailable, "DATABASE_UNAVAILABLE");
                assert!(began.elapsed() < PATIENCE, "it does not heal");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_grpc_is_told_so() {
    let crm = Crm::start().await;
    for (method, content_type, expected) in [
        ("GET", "text/html", 405),
        ("PUT", "application/grpc", 405),
        // JSON is a call of Connect.
        ("POST", "text/plain", 415),
        ("POST", "application/grpcx", 415),
    ] {
        let request = http::Request::builder()
            .method(method)
            .uri("/crm.v1.CustomerService/GetCustomer")
            .header("content-type", content_type)
            .body(tonic::body::Body::empty())
            .expect("a request");
        let mut channel = crm.channel();
        std::future::poll_fn(|poller| tower::Service::poll_ready(&mut channel, poller)).await.expect("ready");
        let response = tower::Service::call(&mut channel, request).await.expect("an answer");
        assert_eq!(response.status().as_u16(), expected, "{method} {content_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_claims_four_gigabytes_is_refused_unread() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for (service, rpc) in [("CustomerService", "GetCustomer"), ("ConversationService", "CreateMessage")] {
        let request = http::Request::builder()
            .method("POST")
            .uri(format!("/crm.v1.{service}/{rpc}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-tenant-id", tenant.id.to_string())
            .body(tonic::body::Body::new(crate::support::raw::Chunk::new(vec![0, 0xff, 0xff, 0xff, 0xff])))
            .expect("a request");
        let mut channel = crm.channel();
        std::future::poll_fn(|poller| tower::Service::poll_ready(&mut channel, poller)).await.expect("ready");
        let response = soon(tower::Service::call(&mut channel, request)).await.expect("an answer");
        let error = Status::from_header_map(response.headers()).expect("an error");
        error.is(Code::ResourceExhausted, "REQUEST_TOO_LARGE");
    }
    tenant.customer("The connection lives").await;
}
