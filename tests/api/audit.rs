//! The audit log: it has every call that changes something, with its outcome and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb::{
    AuditOutcome, ErrorReason, ListAuditEventsRequest, ResourceType, UpdateCustomerRequest,
};
use crm_testkit::Sql;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use tonic::Code;
use uuid::Uuid;

use crate::idempotency::{mutations, ready_for};
use crate::support::customers::{named, repeatable};
use crate::support::raw::{CONTRACT, call, call_bytes, rpcs, stream_error};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal, Settings, Tenant, at_once, eventually, micros};

/// Returns what an RPC changes by the contract: the kind of resource, and the path of its id.
fn resource(rpc: &MethodDescriptor) -> Option<(ResourceType, String)> {
    let access = CONTRACT.get_extension_by_name("crm.v1.access").expect("the option");
    let options = rpc.options();
    let access = options.get_extension(&access);
    let access = access.as_message().expect("a message");
    if !access.has_field_by_name("resource") {
        return None;
    }
    let resource = access.get_field_by_name("resource")?;
    let resource = resource.as_message()?;
    let kind = resource.get_field_by_name("type")?.as_enum_number()?;
    let id = resource.get_field_by_name("id")?.as_str()?.to_owned();
    Some((ResourceType::try_from(kind).expect("a kind of this version"), id))
}

/// Returns the text at a path of a request or a response; empty if there is no response.
fn at(path: &str, request: &DynamicMessage, response: Option<&DynamicMessage>) -> String {
    let (from, path) = path.split_once('.').expect("from request or response");
    let Some(message) = (if from == "request" { Some(request) } else { response }) else {
        return String::new();
    };
    let mut value = Value::Message(message.clone());
    for name in path.split('.') {
        let message = value.as_message().expect("a message").clone();
        value = message.get_field_by_name(name).expect("a field").into_owned();
    }
    value.as_str().expect("a text").to_owned()
}

fn full_name(rpc: &MethodDescriptor) -> String {
    format!("{}/{}", rpc.parent_service().full_name(), rpc.name())
}

#[test]
fn every_rpc_that_takes_a_request_id_says_what_it_changes_and_so_does_the_stream() {
    let says: Vec<_> = rpcs().into_iter().filter(|rpc| resource(rpc).is_some()).collect();
    let takes = |rpc: &MethodDescriptor| rpc.input().get_field_by_name("request_id").is_some();
    let others: Vec<_> = says.iter().filter(|rpc| !takes(rpc)).map(MethodDescriptor::name).collect();
    assert_eq!(others, ["AddMessage"]);
    assert_eq!(says.len(), mutations().len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_changes_something_leaves_one_event() {
    let crm = Crm::start().await;
    for rpc in mutations() {
        let tenant = crm.tenant();
        let about = ready_for(&tenant, &rpc).await;
        let request = samples::request(&rpc, &about);
        let answer = call(&tenant, &request, &rpc).await.expect("done");
        let mut events = tenant.events_of(&full_name(&rpc)).await;
        events.retain(|event| event.request_id == about.request_id);
        assert_eq!(events.len(), 1, "{}: {events:?}", rpc.name());
        let event = events.remove(0);
        let (kind, path) = resource(&rpc).expect("it changes something");
        let id = at(&path, &request, Some(&answer));
        assert!(Uuid::try_parse(&id).is_ok(), "{} names what it changes", rpc.name());
        assert_eq!((event.resource_type(), &event.resource_id), (kind, &id));
        assert_eq!(
            (event.outcome(), event.code, event.reason()),
            (AuditOutcome::Succeeded, 0, ErrorReason::Unspecified)
        );
        assert_eq!(event.principal, "anybody");
        assert!(Uuid::try_parse(&event.call_id).is_ok() && event.messages.is_none());
        // A retry is answered, and does nothing.
        call(&tenant, &request, &rpc).await.expect("the first answer");
        let events = tenant.events_of(&full_name(&rpc)).await;
        assert_eq!(events.iter().filter(|event| event.request_id == about.request_id).count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_only_reads_leaves_none() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let reads = rpcs().into_iter().filter(|rpc| resource(rpc).is_none() && !rpc.is_server_streaming());
    for rpc in reads {
        // Neither an answer nor an error of it is an event.
        let _ = call(&tenant, &samples::request(&rpc, &About::nothing()), &rpc).await;
    }
    // A later failure is stored after them.
    let refused = tenant.create(named(" ")).await.expect_err("no name");
    tenant.event_of_error(&refused).await;
    assert_eq!(tenant.events(Default::default()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_that_fails_leaves_one_event_that_says_why() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let id = tenant.id.to_string();
    let mut refused = Vec::new();
    let mut malformed = Vec::new();
    for rpc in mutations() {
        let about = About { request_id: Uuid::new_v4().to_string(), ..About::nothing() };
        let empty = DynamicMessage::new(rpc.input());
        let requests = [(samples::request(&rpc, &about), about.request_id), (empty, String::new())];
        for (request, request_id) in requests {
            let Err(error) = call(&tenant, &request, &rpc).await else {
                // Of many events, each has an error of its own.
                let takes =
                    ["CreateCustomer", "CreateCampaign", "RecordInterestEvents"].contains(&rpc.name());
                assert!(takes, "{} needs something that is there", rpc.name());
                continue;
            };
            refused.push((rpc.clone(), request, request_id, error));
        }
        let answer = call_bytes(tenant.channel(), &rpc, &[(TENANT_HEADER, &id)], vec![0xff; 4]).await;
        malformed.push(answer.expect_err("no request"));
    }
    let events = tenant.events_of_errors(refused.iter().map(|(.., error)| error)).await;
    for (event, (rpc, request, request_id, error)) in events.into_iter().zip(&refused) {
        let (kind, path) = resource(rpc).expect("it changes something");
        assert_eq!(event.code, i32::from(error.code()), "{event:?}");
        assert_eq!(event.reason().as_str_name(), format!("ERROR_REASON_{}", error.reason()));
        assert_eq!((event.outcome(), &event.method), (AuditOutcome::Failed, &full_name(rpc)));
        assert_eq!((event.resource_type(), &event.resource_id), (kind, &at(&path, request, None)));
        assert_eq!(event.request_id, *request_id);
    }
    for event in tenant.events_of_errors(&malformed).await {
        assert_eq!((event.reason(), event.resource_id.as_str()), (ErrorReason::RequestMalformed, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_end_nobody_knows_says_so() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    let sql = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await;
    let update = async || {
        let wanted = UpdateCustomerRequest { customer: Some(zoe.clone()), ..Default::default() };
        let mut request = tonic::Request::new(wanted);
        request.metadata_mut().insert("grpc-timeout", "100m".parse().expect("a header value"));
        tenant.customers().update_customer(request).await.expect_err("no time")
    };
    let found = async || {
        let mut events = tenant.events_of("crm.v1.CustomerService/UpdateCustomer").await;
        events.retain(|event| event.outcome() == AuditOutcome::Unknown);
        events
    };
    // On a busy machine the deadline may pass before the call arrives, and then nothing was done.
    eventually("a call came as far as the lock", async || {
        let code = update().await.code();
        // Either timer may be first, the client's own or the service's.
        assert!(matches!(code, Code::Cancelled | Code::DeadlineExceeded), "{code:?}");
        !found().await.is_empty()
    })
    .await;
    sql.run("ROLLBACK").await;
    let event = found().await.remove(0);
    assert_eq!((event.reason(), event.resource_id), (ErrorReason::DeadlineExceeded, zoe.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_its_effect_are_stored_together_or_not_at_all() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    sql.run("ALTER TABLE audit_events ADD CONSTRAINT full_disk CHECK (outcome <> 'SUCCEEDED') NOT VALID")
        .await;
    let error = tenant.create(named("Zoe")).await.expect_err("no event, no customer");
    assert!(matches!(error.code(), Code::Unavailable | Code::Internal), "{error:?}");
    assert_eq!(sql.number("SELECT count(*) FROM customers").await, 0);
    assert_eq!(tenant.event_of_error(&error).await.method, "crm.v1.CustomerService/CreateCustomer");
    sql.run("ALTER TABLE audit_events DROP CONSTRAINT full_disk").await;
    sql.run("ALTER TABLE customers ADD CONSTRAINT full_disk CHECK (business_name <> 'Zoe')").await;
    let error = tenant.create(named("Zoe")).await.expect_err("no customer, no event");
    assert_eq!(tenant.event_of_error(&error).await.outcome(), AuditOutcome::Failed);
    tenant.create(named("Ana")).await.expect("all is well");
    let done = tenant.events(ListAuditEventsRequest {
        outcomes: vec![AuditOutcome::Succeeded.into()],
        ..Default::default()
    });
    assert_eq!(done.await.len(), 1);
}

/// Returns a connection as the service uses it, in a transaction of this tenant.
async fn as_the_service(crm: &Crm, tenant: &Tenant) -> Sql {
    let sql = crm.sql().await;
    sql.run(&format!("BEGIN; SET LOCAL ROLE crm_app; SET LOCAL app.tenant_id = '{}'", tenant.id)).await;
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_cannot_change_or_delete_an_event() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    tenant.customer("Zoe").await;
    let of_tenant = format!("SELECT id FROM audit_events WHERE tenant_id = '{}' FOR UPDATE", tenant.id);
    for attempt in [
        "UPDATE audit_events SET principal = 'nobody'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        &of_tenant,
        "INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (tenant_id, id) DO UPDATE SET code = 1",
        "DROP TABLE audit_events",
        "ALTER TABLE audit_events ADD COLUMN x int",
    ] {
        let sql = as_the_service(&crm, &tenant).await;
        let error = sql.try_rows(attempt).await.expect_err(attempt);
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{attempt}: {error:?}");
    }
    assert_eq!(tenant.events(Default::default()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_its_own_events_and_no_others() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let zoe = ana.customer("Zoe").await;
    let own = ben.customer("Own").await;
    let error = ben.delete(&zoe.id).await.expect_err("not Ben's");
    let tried = ben.event_of_error(&error).await;
    let seen: BTreeSet<_> =
        ben.events(Default::default()).await.into_iter().map(|event| event.resource_id).collect();
    assert_eq!(seen, BTreeSet::from([zoe.id.clone(), own.id]), "what Ben did and tried");
    let of_zoe = |outcome: AuditOutcome| ListAuditEventsRequest {
        resource_id: zoe.id.clone(),
        outcomes: vec![outcome.into()],
        ..Default::default()
    };
    assert_eq!(ben.events(of_zoe(AuditOutcome::Succeeded)).await, []);
    assert_eq!(ben.events(of_zoe(AuditOutcome::Failed)).await, [tried]);
    assert_eq!(ana.events(of_zoe(AuditOutcome::Failed)).await, []);
    assert_eq!(ana.events(of_zoe(AuditOutcome::Succeeded)).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_every_event_once_the_newest_first() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for number in 0..7 {
        tenant.customer(&format!("Zoe {number}")).await;
        // Events within one millisecond have no fixed order.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let all = tenant.events(Default::default()).await;
    assert_eq!(all.len(), 7);
    let times: Vec<_> = all.iter().map(|event| micros(event.create_time)).collect();
    assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
    for size in [1, 2, 3, 7, 500] {
        assert_eq!(
            tenant.events(ListAuditEventsRequest { page_size: size, ..Default::default() }).await,
            all
        );
        let order_by = "create_time".to_owned();
        let mut oldest =
            tenant.events(ListAuditEventsRequest { page_size: size, order_by, ..Default::default() }).await;
        oldest.reverse();
        assert_eq!(oldest, all);
    }
    let page = tenant
        .audit_page(ListAuditEventsRequest { page_size: 3, ..Default::default() })
        .await
        .expect("a page");
    tenant.customer("Later").await;
    let page_token = page.next_page_token;
    let next = ListAuditEventsRequest { page_size: 3, page_token: page_token.clone(), ..Default::default() };
    assert_eq!(tenant.audit_page(next.clone()).await.expect("a page").audit_events, all[3..6]);
    let other = ListAuditEventsRequest { method: "x".to_owned(), ..next };
    tenant
        .audit_page(other)
        .await
        .expect_err("another filter")
        .is(Code::InvalidArgument, "PAGE_TOKEN_INVALID");
    for order_by in ["id", "create_time asc", "principal"] {
        let request = ListAuditEventsRequest { order_by: order_by.to_owned(), ..Default::default() };
        tenant.audit_page(request).await.expect_err("closed").is_invalid(&["order_by"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_together() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await;
    let ana = tenant.customer("Ana").await;
    tenant.delete(&zoe.id).await.expect("deleted");
    let error = tenant.delete(&zoe.id).await.expect_err("deleted before");
    tenant.event_of_error(&error).await;
    let count = async |request: ListAuditEventsRequest| tenant.events(request).await.len();
    let all = ListAuditEventsRequest::default;
    assert_eq!(count(all()).await, 4);
    let resource_id = zoe.id.clone();
    assert_eq!(count(ListAuditEventsRequest { resource_id: resource_id.clone(), ..all() }).await, 3);
    let method = "crm.v1.CustomerService/DeleteCustomer".to_owned();
    assert_eq!(count(ListAuditEventsRequest { method: method.clone(), ..all() }).await, 2);
    let outcomes = vec![AuditOutcome::Failed.into()];
    assert_eq!(count(ListAuditEventsRequest { outcomes: outcomes.clone(), ..all() }).await, 1);
    let both = vec![AuditOutcome::Failed.into(), AuditOutcome::Succeeded.into()];
    assert_eq!(count(ListAuditEventsRequest { outcomes: both, method: method.clone(), ..all() }).await, 2);
    let principal = "anybody".to_owned();
    assert_eq!(count(ListAuditEventsRequest { principal: principal.clone(), ..all() }).await, 4);
    assert_eq!(count(ListAuditEventsRequest { principal: "any".to_owned(), ..all() }).await, 0);
    let together = ListAuditEventsRequest { resource_id, method, outcomes, principal, ..all() };
    assert_eq!(count(together).await, 1);
    let of_ana = tenant.events(ListAuditEventsRequest { resource_id: ana.id, ..all() }).await;
    let time = of_ana[0].create_time;
    let (from, until) = (
        tenant.events(ListAuditEventsRequest { create_time_from: time, ..all() }).await,
        tenant.events(ListAuditEventsRequest { create_time_until: time, ..all() }).await,
    );
    assert_eq!(from.len() + until.len(), 4);
    assert!(from.iter().all(|event| micros(event.create_time) >= micros(time)) && from.contains(&of_ana[0]));
    assert!(until.iter().all(|event| micros(event.create_time) < micros(time)) && !until.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_written_is_in_an_event() {
    const CANARY: &str = "canary-zoe@cafe.example";
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    for rpc in rpcs().into_iter().filter(|rpc| resource(rpc).is_some()) {
        let canary = || format!("{CANARY} {}", Uuid::new_v4());
        let about = About { text: canary(), ..ready_for(&tenant, &rpc).await };
        let misused = About {
            customer: CANARY.to_owned(),
            conversation: CANARY.to_owned(),
            question: CANARY.to_owned(),
            faq: CANARY.to_owned(),
            campaign: CANARY.to_owned(),
            purchase: CANARY.to_owned(),
            text: canary(),
            request_id: CANARY.to_owned(),
            ..About::nothing()
        };
        for about in [&about, &misused] {
            if let Err(error) = call(&tenant, &samples::request(&rpc, about), &rpc).await {
                assert_eq!(tenant.event_of_error(&error).await.method, full_name(&rpc));
            }
        }
    }
    let sql = crm.sql().await;
    assert!(sql.number("SELECT count(*) FROM audit_events").await > 40);
    assert_eq!(sql.number("SELECT count(*) FROM audit_events e WHERE e::text ~* 'canary|zoe'").await, 0);
    assert!(!format!("{:?}", tenant.events(Default::default()).await).contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_last_is_stored_before_the_service_ends() {
    let mut crm = Crm::start().await;
    let tenant = crm.tenant();
    let replica = crm.replica().await;
    let failing = (0..50).map(|_| {
        let tenant = tenant.clone();
        async move {
            tenant.create(named(" ")).await.expect_err("no name").is(Code::InvalidArgument, "FIELD_INVALID");
        }
    });
    at_once(failing).await;
    crm.shut_down().await.expect("a clean end");
    assert_eq!(tenant.through(&replica).events(Default::default()).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_later_waits_for_a_database_that_is_away() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    // Refused before the database is needed, so only the event waits.
    sql.run("BEGIN; LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE").await;
    let refused = tenant.create(named(" ")).await.expect_err("no name");
    sql.run(
        "SELECT pg_sleep(0.3); SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'; ROLLBACK",
    )
    .await;
    assert_eq!(tenant.event_of_error(&refused).await.reason(), ErrorReason::FieldInvalid);
}

/// Adds past and future events to tenants.
async fn fill(sql: &Sql, tenants: &[&Tenant], count: u32) {
    for tenant in tenants {
        sql.run(&format!(
            "INSERT INTO audit_events (tenant_id, id, created_at, principal, method, resource_type, outcome, code)
             SELECT '{}', (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || right(md5(n::text), 20))::uuid,
                    at, 'ana', 'S/M', 'CUSTOMER', 'SUCCEEDED', 0
             FROM generate_series(0, {count}) AS n,
                  LATERAL (SELECT now() + CASE n WHEN 0 THEN interval '1 day' ELSE interval '-1 day' END AS at) AS t",
            tenant.id
        ))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_its_retention_goes_from_all_tenants_and_nothing_else_does() {
    let crm = Crm::start().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let sql = crm.sql().await;
    // More than one transaction of the sweeper deletes.
    fill(&sql, &[&ana, &ben], 2_500).await;
    let settings = Settings { audit_retention: Duration::from_secs(2), ..Settings::default() };
    let mut replicas = vec![crm.replica_with(settings.clone()).await, crm.replica_with(settings).await];
    eventually("the old ones are gone", async || sql.number("SELECT count(*) FROM audit_events").await == 2)
        .await;
    for tenant in [&ana, &ben] {
        assert_eq!(tenant.events(Default::default()).await.len(), 1, "what is not old stays");
    }
    for replica in &mut replicas {
        replica.shut_down().await.expect("a clean end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_at_once_leaves_one_event() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request = repeatable(named("Zoe"));
    let creates = (0..8).map(|_| {
        let (tenant, request) = (tenant.clone(), request.clone());
        async move { tenant.send_create(request).await.expect("an answer").id }
    });
    let ids: BTreeSet<_> = at_once(creates).await.into_iter().collect();
    let events = tenant.events(Default::default()).await;
    assert_eq!((ids.len(), events.len()), (1, 1));
    assert!(ids.contains(&events[0].resource_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_leaves_an_event_too() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let rpc = crate::support::raw::rpc("AddMessage");
    let about = About::nothing();
    let answer = call(&tenant, &samples::request(&rpc, &about), &rpc).await.expect("an answer");
    stream_error(&answer).expect("no conversation").is(Code::NotFound, "CONVERSATION_NOT_FOUND");
    let method = "crm.v1.ConversationService/AddMessage";
    eventually("the event is there", async || !tenant.events_of(method).await.is_empty()).await;
    let event = tenant.events_of(method).await.remove(0);
    assert_eq!((event.reason(), event.outcome()), (ErrorReason::ConversationNotFound, AuditOutcome::Failed));
    assert_eq!((event.resource_type(), event.resource_id), (ResourceType::Conversation, about.conversation));
}
