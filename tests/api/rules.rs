//! Properties of every RPC of the contract, future ones included.

use std::time::{Duration, Instant};

use crm_backend::identity::TENANT_HEADER;
use prost::Message;
use prost_reflect::MethodDescriptor;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::http2::{Http2, begun, framed, whole};
use crate::support::raw::{call, call_bytes, rpcs, stream_error};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal};

/// Returns a valid request with unknown ids.
fn sample(rpc: &MethodDescriptor) -> Vec<u8> {
    samples::request(rpc, &About::nothing()).encode_to_vec()
}

fn with_request_id(rpc: &MethodDescriptor) -> bool {
    rpc.input().get_field_by_name("request_id").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rpc_answers_without_a_tenant() {
    let crm = Crm::start().await;
    for rpc in rpcs() {
        for message in [sample(&rpc), Vec::new(), vec![0xff; 16]] {
            let answer = call_bytes(crm.channel(), &rpc, &[], message).await;
            let error = answer.expect_err(rpc.full_name());
            error.is(Code::Unauthenticated, "TENANT_REQUIRED");
            assert!(error.message().contains(TENANT_HEADER), "it says what to send: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rpc_answers_to_what_is_not_one_tenant() {
    let crm = Crm::start().await;
    let tenant = Uuid::new_v4().to_string();
    let (braces, long) = (format!("{{{tenant}}}"), format!("{tenant}0"));
    let simple = tenant.replace('-', "");
    let urn = format!("urn:uuid:{tenant}");
    let spaces = format!("{tenant} ,{tenant}");
    let nil = Uuid::nil().to_string();
    let sql = "' OR tenant_id IS NOT NULL; --";
    let bad = ["", " ", &braces, &long, &simple, &urn, &spaces, &nil, sql, &tenant[..35]];
    for rpc in rpcs() {
        for value in bad {
            let answer = call_bytes(crm.channel(), &rpc, &[(TENANT_HEADER, value)], sample(&rpc)).await;
            answer.expect_err(value).is(Code::InvalidArgument, "TENANT_INVALID");
        }
        let twice = [(TENANT_HEADER, tenant.as_str()), (TENANT_HEADER, tenant.as_str())];
        let answer = call_bytes(crm.channel(), &rpc, &twice, sample(&rpc)).await;
        answer.expect_err("twice").is(Code::InvalidArgument, "TENANT_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_refused_and_the_connection_lives() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    let zoe = tenant.customer("Zoe").await;
    let mut wrong = Vec::new();
    for rpc in rpcs() {
        let first = rpc.input().fields().next().expect("a field").number();
        let tag = |wire_type: u32| u8::try_from(first << 3 | wire_type).expect("a small number");
        let bad = [
            ("a truncated varint", vec![0xff; 4]),
            ("a truncated text", vec![tag(2), 100, b'x']),
            ("a wrong wire type", vec![tag(5), 0, 0, 0, 0]),
            ("bad UTF-8 or a broken message", vec![tag(2), 2, 0xc3, 0x28]),
            ("field 0", vec![0, 0]),
            ("an end of a group that never began", vec![tag(4)]),
        ];
        for (what, bytes) in bad {
            let answer = call_bytes(tenant.channel(), &rpc, &[(TENANT_HEADER, &id)], bytes).await;
            if !refused(&answer, Code::InvalidArgument, "REQUEST_MALFORMED") {
                wrong.push(format!("{} answers {what} with {answer:?}", rpc.name()));
            }
        }
        assert_eq!(tenant.get(&zoe.id).await.expect("the connection lives"), zoe);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_mebibyte_is_too_large_for_every_rpc() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    let mut wrong = Vec::new();
    for rpc in rpcs() {
        // An unknown field, so that only its size counts.
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(15_000, &vec![0_u8; 1 << 20], &mut bytes);
        let answer = call_bytes(tenant.channel(), &rpc, &[(TENANT_HEADER, &id)], bytes).await;
        if !refused(&answer, Code::ResourceExhausted, "REQUEST_TOO_LARGE") {
            wrong.push(format!("{} answers {answer:?}", rpc.name()));
        }
    }
    tenant.customer("The connection lives").await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn refused(answer: &Result<Vec<u8>, Status>, code: Code, reason: &str) -> bool {
    answer.as_ref().is_err_and(|error| {
        let details = tonic_types::StatusExt::get_error_details(error);
        error.code() == code && details.error_info().is_some_and(|info| info.reason == reason)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_rpc_is_unimplemented() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    for path in ["/crm.v1.CustomerService/Nonsense", "/crm.v1.Nonsense/Get", "/nonsense/Get"] {
        let path = path.parse().expect("a path");
        let answer = crate::support::raw::call_path(tenant.channel(), path, &[(TENANT_HEADER, &id)]).await;
        answer.expect_err("unknown").is(Code::Unimplemented, "METHOD_UNKNOWN");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_by_every_rpc() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    // These locks block every call, so that none can finish.
    let tables = "idempotency_keys, customers, conversations, conversation_messages, conversation_analyses, \
                  pending_questions, customer_faqs, campaigns, campaign_customers, campaign_events, interest_events, \
                  purchases, audit_events, customer_consents, customer_external_ids, faq_observations, purchase_refunds";
    sql.run(&format!("BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")).await;
    // This client has no timer of its own, so the answer is the service's.
    let mut client = Http2::connect(crm.address()).await;
    for rpc in rpcs() {
        let path = format!("{}/{}", rpc.parent_service().name(), rpc.name());
        let message = framed(&samples::request(&rpc, &About::nothing()));
        let request = if rpc.is_client_streaming() { begun } else { whole };
        let called = Instant::now();
        let error = client.refusal(request(&path, tenant.id, &[("grpc-timeout", "40m")], message)).await;
        let took = called.elapsed();
        error.is(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        let kept = Duration::from_millis(40)..Duration::from_millis(1_000);
        assert!(kept.contains(&took), "{path} took {took:?}");
    }
    sql.run("ROLLBACK").await;
    tenant.customer("The database is well").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_of_a_millisecond_is_met_or_exceeded_at_once() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    for rpc in rpcs() {
        let metadata = [(TENANT_HEADER, id.as_str()), ("grpc-timeout", "1m")];
        let called = Instant::now();
        let answer = call_bytes(tenant.channel(), &rpc, &metadata, sample(&rpc)).await;
        assert!(
            called.elapsed() < Duration::from_millis(1_000),
            "{} took {:?}",
            rpc.name(),
            called.elapsed()
        );
        // CANCELLED is the client's own timer.
        let allowed = [Code::DeadlineExceeded, Code::Cancelled, Code::NotFound, Code::InvalidArgument];
        if let Err(error) = answer {
            assert!(allowed.contains(&error.code()), "{} says {error:?}", rpc.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_that_is_no_uuid_is_refused_by_every_rpc_that_takes_one() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let mut seen = 0;
    for rpc in rpcs().into_iter().filter(with_request_id) {
        for request_id in
            ["x", "1", "01939a3c-7d4e-7000-8000-0123456789aX", "01939a3c7d4e700080000123456789ab"]
        {
            let about = About { request_id: request_id.to_owned(), ..About::nothing() };
            let error = call(&tenant, &samples::request(&rpc, &about), &rpc).await.expect_err(rpc.name());
            error.is_invalid(&["request_id"]);
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_every_rpc_names_its_reason_and_its_request() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for rpc in rpcs() {
        let empty = prost_reflect::DynamicMessage::new(rpc.input());
        let answer = call(&tenant, &empty, &rpc).await;
        let Some(error) = answer.map_or_else(Some, |answer| stream_error(&answer)) else {
            let asks_for_all =
                rpc.name().starts_with("List") || rpc.parent_service().name() == "DashboardService";
            assert!(asks_for_all, "{} takes an empty request", rpc.name());
            continue;
        };
        error.is(Code::InvalidArgument, "FIELD_INVALID");
        assert!(!error.fields().is_empty(), "{error:?}");
        if !rpc.is_server_streaming() {
            let details = tonic_types::StatusExt::get_error_details(&error);
            let request = details.request_info().expect("the id of the request");
            assert!(Uuid::try_parse(&request.request_id).is_ok());
        }
    }
}
