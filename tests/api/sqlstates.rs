//! Errors of Postgres, as clients get them. Triggers cause errors that normal calls never cause; where possible,
//! Postgres fails by itself.

use std::time::Duration;

use crm_backend::pb::Customer;
use crm_testkit::Sql;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::conversations::message;
use crate::support::customers::named;
use crate::support::misfortune::{self, CANARY};
use crate::support::postgres::Database;
use crate::support::{Crm, Refusal, Settings, Tenant, eventually};

const AWAY: (Code, &str) = (Code::Unavailable, "DATABASE_UNAVAILABLE");
const LATE: (Code, &str) = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
const CONFLICT: (Code, &str) = (Code::Aborted, "CONFLICT");
const UNSTORABLE: (Code, &str) = (Code::InvalidArgument, "FIELD_INVALID");
const FAULT: (Code, &str) = (Code::Internal, "INTERNAL");

/// The answer to each misfortune.
const ANSWERS: [(&str, (Code, &str)); 31] = [
    ("08006 pgbouncer", AWAY),
    ("08P01 pgbouncer", AWAY),
    ("57P01", AWAY),
    ("57P02", AWAY),
    ("57P03", AWAY),
    ("53300", AWAY),
    ("53300 reserved", AWAY),
    ("53100", AWAY),
    ("53100 partly", AWAY),
    ("53200", AWAY),
    ("58030", AWAY),
    ("XX000 disk", AWAY),
    ("57014", LATE),
    ("57014 cancelled", LATE),
    ("40001", CONFLICT),
    ("40P01", CONFLICT),
    ("55P03", CONFLICT),
    ("55P03 nowait", CONFLICT),
    ("23514", UNSTORABLE),
    ("22001", UNSTORABLE),
    ("22003", UNSTORABLE),
    ("22003 text", UNSTORABLE),
    ("22021", UNSTORABLE),
    ("22P02", UNSTORABLE),
    ("22P05", UNSTORABLE),
    ("22P05 conversion", UNSTORABLE),
    ("42501 policy", FAULT),
    ("42501", FAULT),
    ("23505", FAULT),
    ("22012", FAULT),
    ("42P01", FAULT),
];

/// The attempts of a call whose transaction conflicts with others.
const ATTEMPTS: i64 = 3;

/// Checks that an error is the answer to the misfortune, and reveals nothing more.
fn answers(error: &Status, what: &str, (code, reason): (Code, &str)) {
    assert_eq!((error.code(), error.reason()), (code, reason.to_owned()), "{what}: {error:?}");
    assert!(!format!("{error:?}{:?}", error.get_error_details()).contains(CANARY), "{what}: {error:?}");
    let retry = error.get_error_details().retry_info().and_then(|info| info.retry_delay);
    assert_eq!(retry.is_some(), code == Code::Unavailable, "{what}: {error:?}");
    let id = error.get_error_details().request_info().map(|info| info.request_id.clone());
    assert!(id.is_some_and(|id| uuid::Uuid::try_parse(&id).is_ok()), "{what} names its request: {error:?}");
}

async fn create(tenant: &Tenant, what: &str) -> Status {
    let request = Customer { owner: what.to_owned(), ..named("Zoe") };
    tenant.create(request).await.expect_err(what)
}

async fn customers(sql: &Sql) -> i64 {
    sql.number("SELECT count(*) FROM customers").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_postgres_is_answered_by_what_the_client_does_next() {
    let crm = Crm::start().await;
    let (sql, nodes) = (crm.sql().await, crm.nodes().await);
    misfortune::prepare(&nodes).await;
    let tenant = crm.tenant();
    for (what, answer) in ANSWERS {
        let before = misfortune::count(&nodes).await;
        answers(&create(&tenant, what).await, what, answer);
        let attempts = misfortune::count(&nodes).await - before;
        assert_eq!(attempts, if answer == CONFLICT { ATTEMPTS } else { 1 }, "{what}");
        tenant.customer("All is well").await;
    }
    assert_eq!(customers(&sql).await, i64::try_from(ANSWERS.len()).expect("a few"), "no error had an effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_stream_a_refusal_of_postgres_is_the_error_of_its_message_alone() {
    let crm = Crm::start().await;
    misfortune::prepare(&crm.nodes().await).await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut stream = tenant.stream().await;
    for (number, (what, (code, reason))) in ANSWERS.into_iter().enumerate() {
        stream.send(&talk.id, message(what, what));
        let error = stream.outcome().await.expect_err(what);
        assert_eq!((error.code(), error.reason()), (code, reason.to_owned()), "{what}: {error:?}");
        assert!(!format!("{error:?}").contains(CANARY), "{what}: {error:?}");
        stream.send(&talk.id, message(&format!("good {number}"), "Hello"));
        let ack = stream.outcome().await.expect("the stream lives");
        assert_eq!(ack.sequence, i32::try_from(number + 1).expect("a few"), "no error left a hole");
    }
}

/// A Postgres that was the primary and now follows another one answers, and stores nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_only_reads_is_unavailable_and_its_connections_are_given_up() {
    let crm = Crm::with(Settings { connections: 1, ..Settings::default() }).await;
    let sql = crm.sql().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let database = sql.texts("SELECT current_database()").await.remove(0);
    let read_only = async |on: &str| {
        sql.run(&format!("ALTER DATABASE {database} SET default_transaction_read_only = {on}")).await;
    };
    read_only("on").await;
    sql.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await;
    // The first call may still use a connection that was lost.
    for _ in 0..3 {
        answers(&tenant.create(named("Zoe")).await.expect_err("only reads"), "25006", AWAY);
    }
    let mut stream = tenant.stream().await;
    stream.send(&talk.id, message("a", "Hello"));
    assert_eq!(stream.outcome().await.expect_err("only reads").code(), Code::Unavailable);
    tenant.read(&talk.id).await.expect("reading goes on");
    read_only("off").await;
    // Open connections stay read-only until a client writes.
    let writes = async || tenant.create(named("Zoe")).await.is_ok();
    eventually("what only reads is given up", writes).await;
    stream.send(&talk.id, message("a", "Hello"));
    assert_eq!(stream.outcome().await.expect("an ack").sequence, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_takes_no_more_connections_is_unavailable() {
    let database = Database::create().await;
    let (role, sql) = (database.role(), database.sql().await);
    sql.run(&format!("CREATE ROLE {role} LOGIN NOINHERIT PASSWORD '{role}'; GRANT crm_app TO {role}")).await;
    sql.run(&format!("ALTER ROLE {role} CONNECTION LIMIT 0")).await;
    let settings = Settings { login: Some(role.clone()), ..Settings::default() };
    let crm = Crm::over(database, settings).await;
    let tenant = crm.tenant();
    answers(&tenant.create(named("Zoe")).await.expect_err("no connection"), "53300", AWAY);
    sql.run(&format!("ALTER ROLE {role} CONNECTION LIMIT -1")).await;
    tenant.customer("All is well").await;
    // Before the service, whose end may remove the database and its connections.
    sql.run(&format!("DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_gets_no_connection_in_time_is_told_when_to_come_back() {
    let settings = Settings { connections: 1, wait: Duration::from_millis(50), ..Settings::default() };
    let crm = Crm::with(settings).await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    sql.run("BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE").await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let tenant = tenant.clone();
        waiting.spawn(async move { tenant.create(named("Zoe")).await });
    }
    let refused = waiting.join_next().await.expect("a call").expect("no panic").expect_err("no connection");
    answers(&refused, "no connection in time", (Code::Unavailable, "DATABASE_BUSY"));
    sql.run("ROLLBACK").await;
    waiting.join_next().await.expect("a call").expect("no panic").expect("created");
}
