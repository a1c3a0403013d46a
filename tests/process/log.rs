//! The log, as collectors read it: a JSON object per line, and one line for each call.

use crm_testkit::{Ended, Server, within};
use serde_json::Value;
use tonic::{Code, Request};
use uuid::Uuid;

use super::client::Client;
use super::scratch;
use crm_backend::pb::GetCustomerRequest;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Gets a customer that does not exist, as part of this trace.
async fn get(client: &mut Client, traceparent: &str) {
    let id = Uuid::new_v4().to_string();
    let mut request = Request::new(GetCustomerRequest { id, ..Default::default() });
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("a value"));
    let refusal = within(client.customers.get_customer(request)).await.expect_err("nobody");
    assert_eq!(refusal.code(), Code::NotFound);
}

/// Makes three calls of a tenant, and ends the program.
async fn calls(tenant: Uuid, arguments: &[&str]) -> Ended {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &[&["--ephemeral"], arguments].concat());
    let mut client = Client::connect_as(server.address, tenant).await;
    client.create_customer("Café Zoë").await;
    get(&mut client, &format!("00-{TRACE}-b7ad6b7169203331-01")).await;
    get(&mut client, "00-kanarienvogel-b7ad6b7169203331-01").await;
    drop(client);
    let ended = server.terminate();
    ended.succeeded();
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_call_has_one_line_with_its_trace_where_nobody_sits_at_a_terminal() {
    let tenant = Uuid::new_v4();
    let ended = calls(tenant, &[]).await;
    let lines: Vec<Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let calls: Vec<&Value> = lines.iter().filter(|line| line["target"] == "crm_backend::calls").collect();
    let said: Vec<_> = calls.iter().map(|call| (call["method"].as_str(), call["code"].as_str())).collect();
    assert_eq!(
        said,
        [
            (Some("crm.v1.CustomerService/CreateCustomer"), Some("OK")),
            (Some("crm.v1.CustomerService/GetCustomer"), Some("NOT_FOUND")),
            (Some("crm.v1.CustomerService/GetCustomer"), Some("NOT_FOUND")),
        ]
    );
    for call in &calls {
        assert_eq!(call["tenant"], tenant.to_string(), "{call}");
        assert!(call["milliseconds"].as_f64().is_some_and(|took| took > 0.0), "{call}");
        Uuid::parse_str(call["request_id"].as_str().expect("an id")).expect("an id");
    }
    let traces: Vec<_> = calls.iter().map(|call| call["trace_id"].as_str()).collect();
    assert_eq!(traces, [None, Some(TRACE), None]);
    assert!(!ended.stderr.contains("kanarienvogel"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lines_of_calls_can_be_turned_off_and_the_log_is_text_where_that_is_asked_for() {
    let ended =
        calls(Uuid::new_v4(), &["--log", "info,crm_backend::calls=off", "--log-format", "text"]).await;
    assert!(ended.stderr.contains("the service is ready"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("answered") && !ended.stderr.contains("{\""), "{}", ended.stderr);
}
