//! Two versions at the same time: a program of the previous version on the schema of the next version.

use std::path::PathBuf;

use crm_testkit::cluster::Database;
use crm_testkit::within;
use prost::Message;
use tokio::sync::watch;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use uuid::Uuid;

use super::backends::Operator;
use super::clerks::Clerks;
use super::client::Client;
use super::run::{Run, Scenario};
use super::service::{Service, Setup};
use super::stage::{Cast, Play};

/// The number of answers between two steps.
const ANSWERS: usize = 300;

/// Clients of unary calls.
const CLERKS: usize = 4;

/// The variable with the program of the previous version, built from the released commit.
const BEFORE: &str = "CRM_FAULTS_BEFORE";

/// What the next version may do to the schema while this one serves: columns with and without a default in every
/// table. One table after the other, because several locks at once could deadlock with those of calls.
const COLUMNS: &str = "
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname = 'tenant_id'
        LOOP
            EXECUTE format('ALTER TABLE %I ADD COLUMN after_note text', name);
            EXECUTE format('ALTER TABLE %I ADD COLUMN after_kind text NOT NULL DEFAULT %L', name, 'NEW');
            COMMIT;
        END LOOP;
    END $$";

/// A table, an index, and the record of a migration that this program does not know.
const TABLE: &str = "
    CREATE TABLE after_things (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id));
    ALTER TABLE after_things ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenant_isolation ON after_things TO crm_app
        USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
        WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    GRANT SELECT, INSERT, UPDATE, DELETE ON after_things TO crm_app;
    CREATE INDEX customers_after_kind_idx ON customers (tenant_id, after_kind);
    INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231000000')";

pub(crate) const AFTER: Scenario = Scenario {
    name: "schema-after",
    fault: "the schema becomes that of a version after while this one serves, and starts again",
    promised: "0 lost; no failed unary for a client that follows the retry policy",
    play: |run| Box::pin(serve_from_a_later_schema(run)),
};

async fn serve_from_a_later_schema(mut run: Run) {
    let database = Database::new().await;
    let mut service = Service::start(&database.url());
    let places = (service.place(), service.place());
    let play = Play::begin(&Cast::usual(), &mut run.random, service.address(), places).await;
    let clerks = Clerks::begin(CLERKS, &[service.place()], &mut run.random);
    play.answers(ANSWERS).await;
    let mut operator = Operator::connect(&database.url()).await;
    operator.execute(COLUMNS).await;
    operator.execute(TABLE).await;
    play.answers(ANSWERS * run.size.pick(1, 20)).await;
    service.stop().await;
    service.restart();
    play.answers(ANSWERS * run.size.pick(1, 20)).await;
    let figures = play.finish(service.address()).await;
    let record = clerks.finish(service.address()).await;
    run.say(&format_args!("{figures}; {record}"));
    assert!(record.failed.is_empty(), "{:?}", record.failed);
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_of_a_version_after_is_served_from() {
    AFTER.short().await;
}

pub(crate) const VERSION_BEFORE: Scenario = Scenario {
    name: "version-before",
    fault: "a replica of the version before, on the present schema, beside one of the present",
    promised: "0 lost, 0 holes, each watched through the other; no failed unary",
    play: |run| Box::pin(serve_beside_the_version_before(run)),
};

/// A rolling upgrade, and back. The previous program creates its schema and serves. The present one migrates it and
/// serves beside it: one is written to and the other watched, in both ways. Then the previous one is restarted on the
/// newer schema.
async fn serve_beside_the_version_before(mut run: Run) {
    let Some(program) = std::env::var_os(BEFORE).map(PathBuf::from) else {
        run.say(&format_args!("not run: {BEFORE} names no program of the version before"));
        return;
    };
    let database = Database::new().await;
    let mut before = Service::launch(Setup::of(&database.url()).program(&program));
    let [writes, watches] = [(); 2].map(|()| watch::Sender::new(before.address()));
    let places = (writes.subscribe(), watches.subscribe());
    let play = Play::begin(&Cast::usual(), &mut run.random, before.address(), places).await;
    play.answers(ANSWERS).await;

    let present = Service::start(&database.url());
    let clerks = Clerks::begin(CLERKS, &[before.place(), present.place()], &mut run.random);
    let turns = run.size.pick(2, 20);
    for turn in 0..turns {
        let [write, watch] = if turn % 2 == 0 { [&before, &present] } else { [&present, &before] };
        writes.send_replace(write.address());
        watches.send_replace(watch.address());
        play.answers(ANSWERS).await;
    }
    before.stop().await;
    before.restart();
    writes.send_replace(before.address());
    watches.send_replace(present.address());
    play.answers(ANSWERS).await;
    let figures = play.finish(present.address()).await;
    let record = clerks.finish(present.address()).await;
    run.say(&format_args!("{turns} turns; {figures}; {record}"));
    assert!(record.failed.is_empty(), "{:?}", record.failed);
    before.terminate();
    present.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_the_version_before_serves_beside_this_one() {
    VERSION_BEFORE.short().await;
}

/// A request of a client of another version: it has fields that this service does not know.
#[derive(Clone, PartialEq, Message)]
struct OtherRequest {
    #[prost(message, optional, tag = "1")]
    customer: Option<OtherNew>,
    #[prost(string, tag = "15000")]
    unknown: String,
}

#[derive(Clone, PartialEq, Message)]
struct OtherNew {
    #[prost(string, tag = "2")]
    business_name: String,
    #[prost(string, tag = "15000")]
    unknown: String,
}

/// An answer, as a client with a smaller contract knows it.
#[derive(Clone, PartialEq, Message)]
struct OtherResponse {
    #[prost(message, optional, tag = "1")]
    customer: Option<OtherCustomer>,
}

#[derive(Clone, PartialEq, Message)]
struct OtherCustomer {
    #[prost(string, tag = "1")]
    id: String,
}

/// Each side ignores fields that it does not know, and an unknown RPC is reported as unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_other_versions_are_served() {
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let mut client = Client::connect(service.address(), Uuid::new_v4()).await;
    let customer = OtherNew { business_name: "Café Zoë".to_owned(), unknown: "?".to_owned() };
    let request = OtherRequest { customer: Some(customer), unknown: "?".to_owned() };
    let ask = async |path: &'static str| {
        let mut grpc = Grpc::new(client.tenanted());
        within(grpc.ready()).await.expect("a connection");
        let codec = ProstCodec::<OtherRequest, OtherResponse>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        within(grpc.unary(tonic::Request::new(request.clone()), path, codec)).await
    };
    let response = ask("/crm.v1.CustomerService/CreateCustomer").await.expect("a customer").into_inner();
    let status = ask("/crm.v1.CustomerService/Foretell").await.expect_err("no such RPC");
    assert_eq!(status.code(), tonic::Code::Unimplemented, "{status:?}");
    let id = response.customer.expect("a customer").id;
    assert_eq!(client.get_customer(&id).await.expect("a customer").business_name, "Café Zoë");
    service.terminate();
}
