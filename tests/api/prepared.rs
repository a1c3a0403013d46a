//! The prepared statements that a connection to Postgres keeps, for any requests of clients.

use std::collections::BTreeMap;

use crm_backend::db::{Db, Deadline, TenantTx, order};
use crm_backend::error::Error;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, Value};
use tonic::Code;

use crate::support::raw::{call, rpcs};
use crate::support::samples::{self, About};
use crate::support::{Crm, PATIENCE, Settings, Tenant, at_once};

/// The maximum number of statements that a connection may keep: each takes Postgres some 50 KB. The service has about
/// this many that do not depend on a client's request.
const KEPT: usize = 160;

/// The number of requests per list, each with another set of filters.
const SHAPES: usize = 150;

/// The orders of lists.
const ORDERS: [&str; 6] =
    ["create_time", "update_time desc", "business_name", "start_time", "occur_time", "purchase_time"];

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_keeps_few_statements_whatever_filters_lists_are_asked_with() {
    let crm = Crm::with(Settings { connections: 1, wait: PATIENCE, ..Settings::default() }).await;
    let tenant = crm.tenant();
    let lists: Vec<_> = rpcs().into_iter().filter(is_list).collect();
    assert!(lists.len() >= 12, "the contract has lists");
    let mut asked = 0;
    for list in &lists {
        let choices = choices(&tenant, list).await;
        let requests = (1..=SHAPES).map(|number| shape(list, &choices, number));
        let calls = requests.map(|request| {
            let (tenant, list) = (tenant.clone(), list.clone());
            async move { is_asked(&tenant, &list, &request).await }
        });
        let answered = at_once(calls).await.into_iter().filter(|answered| *answered).count();
        assert!(answered >= SHAPES / 2, "{}: {answered} answers", list.full_name());
        asked += answered;
    }
    let kept = prepared(&crm.db(), &tenant).await;
    println!("{asked} requests of {} lists, {} statements kept", lists.len(), kept.len());
    assert!(kept.len() <= KEPT, "{} statements are kept:\n{}", kept.len(), kept.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_sent_late_is_noticed_at_the_start() {
    let db = Crm::start().await.db();
    assert!(order::is_kept(&db).await.expect("an answer"));
    let is_kept = order::is_kept_after(&db, tokio::task::yield_now).await;
    assert!(!is_kept.expect("an answer"), "the statement ran after COMMIT");
    assert!(order::is_kept(&db).await.expect("an answer"), "the connection is as it was");
}

/// Whether a request reaches the database, because it follows the rules of the contract.
async fn is_asked(tenant: &Tenant, list: &MethodDescriptor, request: &DynamicMessage) -> bool {
    match call(tenant, request, list).await {
        Ok(_) => true,
        Err(error) => error.code() == Code::NotFound,
    }
}

/// Whether an RPC returns pages.
fn is_list(rpc: &MethodDescriptor) -> bool {
    rpc.input().get_field_by_name("page_token").is_some()
}

/// Returns the values of each field that the list accepts alone.
async fn choices(tenant: &Tenant, list: &MethodDescriptor) -> Vec<(FieldDescriptor, Vec<Value>)> {
    let input = list.input();
    let fields = input.fields().filter(|field| !field.name().starts_with("page_"));
    let candidates =
        fields.flat_map(|field| values(&field).into_iter().map(move |value| (field.clone(), value)));
    let tries = candidates.map(|(field, value)| {
        let (tenant, list) = (tenant.clone(), list.clone());
        async move {
            let mut request = samples::request(&list, &About::nothing());
            request.set_field(&field, value.clone());
            is_asked(&tenant, &list, &request).await.then_some((field, value))
        }
    });
    let mut taken: BTreeMap<u32, (FieldDescriptor, Vec<Value>)> = BTreeMap::new();
    for (field, value) in at_once(tries.collect::<Vec<_>>()).await.into_iter().flatten() {
        taken.entry(field.number()).or_insert_with(|| (field, Vec::new())).1.push(value);
    }
    taken.into_values().collect()
}

/// Returns possible values of a field.
fn values(field: &FieldDescriptor) -> Vec<Value> {
    let texts = || {
        let others = ["x".to_owned(), "EUR".to_owned(), uuid::Uuid::now_v7().to_string()];
        ORDERS.iter().map(|order| (*order).to_owned()).chain(others).map(Value::String).collect()
    };
    let single = match field.kind() {
        Kind::Bool => vec![Value::Bool(true)],
        Kind::Int32 => vec![Value::I32(1)],
        Kind::Int64 => vec![Value::I64(1)],
        Kind::Enum(_) => vec![Value::EnumNumber(1), Value::EnumNumber(2)],
        Kind::String => texts(),
        Kind::Message(kind) if kind.full_name() == "google.protobuf.Timestamp" => {
            let time = prost_types::Timestamp { seconds: 1_760_000_000, nanos: 0 };
            let bytes = time.encode_to_vec();
            vec![Value::Message(DynamicMessage::decode(kind, bytes.as_slice()).expect("a time"))]
        }
        _ => Vec::new(),
    };
    if !field.is_list() {
        return single;
    }
    let (one, all) =
        (single.iter().map(|value| Value::List(vec![value.clone()])), Value::List(single.clone()));
    one.take(1).chain([all]).collect()
}

/// Returns the `number`th request of a list: the digits of the number choose the value of each field.
fn shape(
    list: &MethodDescriptor,
    choices: &[(FieldDescriptor, Vec<Value>)],
    number: usize,
) -> DynamicMessage {
    let mut request = samples::request(list, &About::nothing());
    // The numbers are far from each other, so that no field has the same value in all requests.
    let mut rest = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8;
    for (field, values) in choices {
        let choice = rest % (values.len() + 1);
        rest /= values.len() + 1;
        if let Some(value) = values.get(choice) {
            request.set_field(field, value.clone());
        }
    }
    request
}

/// Returns the statements that the pool's only connection keeps prepared.
async fn prepared(db: &Db, tenant: &Tenant) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Prepared {
        #[diesel(sql_type = Text)]
        statement: String,
    }
    let read = async |tx: &TenantTx| {
        let query = diesel::sql_query("SELECT statement FROM pg_prepared_statements");
        query.load::<Prepared>(&mut tx.connection()).await.map_err(Error::from)
    };
    let kept = db.snapshot(&tenant.caller().await, Deadline::after(PATIENCE), read).await.expect("an answer");
    kept.into_iter().map(|Prepared { statement }| statement).collect()
}
