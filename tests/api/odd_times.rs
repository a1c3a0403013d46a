//! The limits of times: for all times, windows and zones, every answer can be printed, and every request for rows in
//! it is accepted.

use std::collections::HashSet;

use chrono::NaiveDate;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, ReflectMessage, Value};
use prost_types::Timestamp;
use tonic::Code;

use crate::support::campaigns::euros;
use crate::support::conversations::message;
use crate::support::fields::{Path, fields};
use crate::support::raw::{call, rpcs};
use crate::support::samples::{self, About};
use crate::support::{Crm, Tenant};

/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800;

/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;

const DAY: i64 = 86_400;

/// Zones far east and west of UTC, some from before time zones existed, and one whose clock is off by seconds.
const ZONES: [&str; 5] = ["", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Manila", "Africa/Monrovia"];

fn time(seconds: i64, nanos: i32) -> Timestamp {
    Timestamp { seconds, nanos }
}

/// Returns the time fields of a request.
fn times(rpc: &MethodDescriptor) -> Vec<Path> {
    let is_time = |field: &FieldDescriptor| matches!(field.kind(), Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp");
    let last = |path: &Path| path.last().is_some_and(is_time);
    fields(&rpc.input()).into_iter().filter(last).collect()
}

/// Sets a field of a request, in the first item of each list on the path.
fn set(request: &mut DynamicMessage, path: &[FieldDescriptor], value: Value) {
    let [field, rest @ ..] = path else { return };
    if rest.is_empty() {
        return request.set_field(field, value);
    }
    match request.get_field_mut(field) {
        Value::Message(inner) => set(inner, rest, value),
        Value::List(items) => {
            if let Some(Value::Message(first)) = items.first_mut() {
                set(first, rest, value);
            }
        }
        other => panic!("{other:?} has no fields"),
    }
}

fn with_times(request: &DynamicMessage, values: &[(&Path, Timestamp)]) -> DynamicMessage {
    let mut request = request.clone();
    for (path, value) in values {
        let kind = path.last().expect("a field").kind();
        let descriptor = kind.as_message().expect("a time").clone();
        let value = DynamicMessage::decode(descriptor, value.encode_to_vec().as_slice()).expect("a time");
        set(&mut request, path, Value::Message(value));
    }
    request
}

/// Returns the request at the limits of times: each time alone, and each two consecutive ones as a window.
fn at_the_ends(rpc: &MethodDescriptor, sample: &DynamicMessage) -> Vec<DynamicMessage> {
    let paths = times(rpc);
    let alone = [(FIRST, 0), (FIRST, 1_000), (FIRST + 14 * DAY, 0), (LAST - DAY / 2, 0), (LAST, 999_999_999)];
    let windows = [
        (time(FIRST, 0), time(FIRST + 14 * DAY, 0)),
        (time(FIRST, 0), time(FIRST, 1_000)),
        (time(FIRST, 0), time(LAST, 999_999_999)),
        (time(LAST - DAY / 2, 0), time(LAST, 0)),
        (time(LAST, 999_998_000), time(LAST, 999_999_000)),
    ];
    let mut requests = Vec::new();
    for (place, path) in paths.iter().enumerate() {
        requests.extend(alone.map(|(seconds, nanos)| with_times(sample, &[(path, time(seconds, nanos))])));
        if let Some(next) = paths.get(place + 1) {
            requests.extend(windows.map(|(from, until)| with_times(sample, &[(path, from), (next, until)])));
        }
    }
    requests
}

/// Returns the request in every zone and with every period, if it has them.
fn everywhere(request: DynamicMessage) -> Vec<DynamicMessage> {
    let descriptor = request.descriptor();
    let mut requests = vec![request];
    if let Some(zone) = descriptor.get_field_by_name("time_zone") {
        let within = |request: &DynamicMessage| {
            ZONES.map(|name| {
                let mut request = request.clone();
                request.set_field(&zone, Value::String(name.to_owned()));
                request
            })
        };
        requests = requests.iter().flat_map(within).collect();
    }
    if let Some(period) = descriptor.get_field_by_name("growth_period") {
        let by = |request: &DynamicMessage| {
            [1, 2, 3].map(|number| {
                let mut request = request.clone();
                request.set_field(&period, Value::EnumNumber(number));
                request
            })
        };
        requests = requests.iter().flat_map(by).collect();
    }
    requests
}

/// Checks that every time and day of an answer can be printed, and collects the requests in it.
fn look(value: &Value, name: &str, requests: &mut Vec<DynamicMessage>) {
    match value {
        Value::Message(message) => {
            let descriptor = message.descriptor();
            match descriptor.full_name() {
                "google.protobuf.Timestamp" => {
                    let time: Timestamp = message.transcode_to().expect("a time");
                    let is_one = (FIRST..=LAST).contains(&time.seconds);
                    assert!(is_one && (0..1_000_000_000).contains(&time.nanos), "{name} is {time:?}");
                }
                full_name if full_name.starts_with("crm.v1.") && full_name.ends_with("Request") => {
                    requests.push(message.clone());
                }
                _ => {}
            }
            message.fields().for_each(|(field, value)| look(value, field.name(), requests));
        }
        Value::List(items) => items.iter().for_each(|item| look(item, name, requests)),
        Value::Map(entries) => entries.values().for_each(|entry| look(entry, name, requests)),
        Value::String(text) if name == "date" => {
            let is_day =
                text.len() == 10 && text.parse::<NaiveDate>().is_ok() && text.as_str() >= "0001-01-01";
            assert!(is_day, "{text} is no day");
        }
        _ => {}
    }
}

/// The requests that were made already: most answers contain the same ones.
#[derive(Default)]
struct Asked(HashSet<(String, Vec<u8>)>);

impl Asked {
    /// Calls an RPC and every request in its answer, and checks all answers. Returns whether the call was accepted.
    async fn ask(&mut self, tenant: &Tenant, rpc: &MethodDescriptor, request: &DynamicMessage) -> bool {
        let answer = match call(tenant, request, rpc).await {
            Ok(answer) => answer,
            Err(error) => {
                let fine = !matches!(error.code(), Code::Internal | Code::Unknown | Code::DeadlineExceeded);
                assert!(fine, "{} of {request}: {error:?}", rpc.name());
                return false;
            }
        };
        let mut rows = Vec::new();
        look(&Value::Message(answer), rpc.name(), &mut rows);
        for request in rows {
            let name = request.descriptor().full_name().to_owned();
            if !self.0.insert((name.clone(), request.encode_to_vec())) {
                continue;
            }
            let list = rpcs().into_iter().find(|rpc| rpc.input().full_name() == name).expect("its RPC");
            let taken = Box::pin(self.ask(tenant, &list, &request)).await;
            assert!(taken, "{} gives rows that {} refuses: {request}", rpc.name(), list.name());
        }
        true
    }
}

/// Creates a tenant with one resource of every kind.
async fn about(tenant: &Tenant) -> About {
    let talk = tenant.conversation().await;
    let (said, _) = tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    let planned =
        crm_backend::pb::Campaign { budget: Some(euros(5)), ..crate::support::campaigns::planned("Spring") };
    About {
        customer: talk.customer_id.clone(),
        message: said.id,
        question: tenant.question(&talk.customer_id, "Why?").await.id,
        faq: tenant.faq(&talk.customer_id, "Open?", "Yes.").await.id,
        purchase: tenant.purchase(&talk.customer_id).await.id,
        campaign: tenant.plan(planned).await.expect("a campaign").id,
        conversation: talk.id,
        ..About::nothing()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_at_the_ends_of_all_times_can_be_printed_and_its_rows_listed() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = about(&tenant).await;
    let mut asked = Asked::default();
    let (mut calls, mut taken) = (0, 0);
    let (writing, reading): (Vec<_>, Vec<_>) = rpcs()
        .into_iter()
        // Deleted resources could not be read any more, and a watch would have no events.
        .filter(|rpc| !rpc.name().starts_with("Delete") && rpc.name() != "WatchConversation")
        .partition(|rpc| rpc.input().get_field_by_name("request_id").is_some() || rpc.is_client_streaming());
    // Written first, read afterwards.
    for rpc in writing.into_iter().chain(reading) {
        let sample = samples::request(&rpc, &about);
        for request in at_the_ends(&rpc, &sample).into_iter().chain([sample]).flat_map(everywhere) {
            calls += 1;
            taken += usize::from(asked.ask(&tenant, &rpc, &request).await);
        }
    }
    assert!(calls > 300 && taken > calls / 2, "{taken} of {calls} calls were taken");
    assert!(asked.0.len() > 100, "{} lists", asked.0.len());
}
