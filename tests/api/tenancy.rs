//! No statement runs without its tenant. The pool's connections log in as a role that may only become `crm_app`. So a
//! statement outside of a transaction with a tenant is refused, on connections of any age.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use crm_backend::pb::conversation_event::Event;
use crm_backend::pb::watch_conversation_request::Start;
use crm_backend::pb::{MessageStatus, WatchConversationRequest};
use crm_testkit::Sql;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::campaigns::planned;
use crate::support::citus::Citus;
use crate::support::conversations::{delta, finish, message, start};
use crate::support::customers::named;
use crate::support::postgres::Database;
use crate::support::raw::{call, rpcs, stream_error};
use crate::support::samples::{self, About};
use crate::support::{Crm, Refusal, Settings, Tenant, at_once, eventually, soon};

/// Creates the service with connections of a role without rights, and returns the role.
async fn powerless(connections: u16) -> (Crm, String) {
    let database = Database::create().await;
    let role = database.role();
    let sql = database.sql().await;
    sql.run(&format!("CREATE ROLE {role} LOGIN NOINHERIT PASSWORD '{role}'; GRANT crm_app TO {role}")).await;
    let settings = Settings { connections, login: Some(role.clone()), ..Settings::default() };
    (Crm::over(database, settings).await, role)
}

/// Checks that such a role has no rights of its own.
async fn has_no_rights(sql: &Sql, role: &str) {
    for attempt in ["SELECT count(*) FROM conversations", "INSERT INTO message_pieces DEFAULT VALUES"] {
        let error = sql.try_rows(&format!("SET SESSION AUTHORIZATION {role}; {attempt}")).await;
        let error = error.expect_err("no right");
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{error:?}");
        sql.run("RESET SESSION AUTHORIZATION").await;
    }
}

/// Does everything that a tenant can do, again and again: streams of texts, and every RPC.
async fn everything(tenant: Tenant, rounds: usize) {
    for round in 0..rounds {
        let talk = retry(|| tenant.open_some()).await;
        write(&tenant, &talk.id, round).await;
        let mut about = About {
            customer: talk.customer_id.clone(),
            conversation: talk.id.clone(),
            text: format!("{round} {}", tenant.id),
            question: retry(|| tenant.ask_of(&talk.customer_id)).await.id,
            campaign: retry(|| tenant.plan(planned(&tenant.id.to_string()))).await.id,
            ..About::nothing()
        };
        // A watch from now on would have no events.
        for rpc in rpcs().into_iter().filter(|rpc| rpc.name() != "WatchConversation") {
            about.request_id = Uuid::new_v4().to_string();
            let error = match call(&tenant, &samples::request(&rpc, &about), &rpc).await {
                Ok(answer) => stream_error(&answer),
                Err(error) => Some(error),
            };
            if let Some(error) = error {
                harmless(&error, rpc.name());
            }
        }
        retry(|| watch(&tenant, &talk.id)).await;
    }
}

/// Reads all events from the beginning.
async fn watch(tenant: &Tenant, conversation_id: &str) -> Result<(), Status> {
    let request = WatchConversationRequest {
        conversation_id: conversation_id.to_owned(),
        start: Some(Start::AfterSequence(0)),
        include_deltas: true,
    };
    let mut events = tenant.conversations().watch_conversation(request).await?.into_inner();
    let event = soon(events.message()).await?.and_then(|response| response.event).expect("an event");
    match event.event {
        Some(Event::MessageAdded(added)) => {
            assert_eq!(added.message.expect("the message").content, tenant.id.to_string());
        }
        other => panic!("not the first message: {other:?}"),
    }
    Ok(())
}

/// Writes messages whole and in pieces, whose text names their owner.
async fn write(tenant: &Tenant, conversation_id: &str, round: usize) {
    let text = tenant.id.to_string();
    loop {
        let mut stream = tenant.stream().await;
        let (whole, pieces) = (format!("whole {round}"), format!("pieces {round}"));
        stream.send(conversation_id, message(&whole, &text));
        stream.tell(conversation_id, [start(&pieces, "p"), delta(&pieces, 0, &text), finish(&pieces, 36)]);
        let mut complete = true;
        for _ in 0..4 {
            if let Err(error) = stream.outcome().await {
                harmless(&error, "AddMessage");
                complete = false;
            }
        }
        if complete {
            return;
        }
    }
}

/// A statement without its tenant would cause INTERNAL. Lost connections are part of this test, and resources that
/// another sample ended or deleted are harmless.
#[track_caller]
fn harmless(error: &Status, rpc: &str) {
    let fine = [
        Code::Unavailable,
        Code::NotFound,
        Code::FailedPrecondition,
        Code::AlreadyExists,
        Code::Aborted,
        Code::OutOfRange,
    ];
    assert!(fine.contains(&error.code()), "{rpc}: {error:?}");
}

async fn retry<T, F: Future<Output = Result<T, Status>>>(mut attempt: impl FnMut() -> F) -> T {
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => error.is(Code::Unavailable, "DATABASE_UNAVAILABLE"),
        };
    }
}

/// Ends connections of the pool again and again, so that new ones replace them.
async fn renew(sql: Sql, role: String) {
    // Longer than opening one takes, or nothing else would happen. Citus opens some to other nodes too.
    let between = if Citus::is_there() { Duration::from_secs(2) } else { Duration::from_millis(250) };
    let mut turns = tokio::time::interval(between);
    loop {
        turns.tick().await;
        sql.run(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND usename = '{role}' AND state = 'idle'
             ORDER BY backend_start LIMIT 1"
        ))
        .await;
    }
}

/// Checks that every row which names its owner belongs to that tenant.
async fn every_row_is_at_home(sql: &Sql) {
    let mut counts = BTreeMap::new();
    for (table, column) in [
        ("customers", "business_name"),
        ("conversations", "outcome_notes"),
        ("conversation_messages", "content"),
        ("conversation_analyses", "summary"),
        ("pending_questions", "question"),
        ("campaigns", "name"),
    ] {
        let marked = format!("{column} ~ '[0-9a-f]{{8}}-[0-9a-f-]{{27}}$'");
        let strays =
            format!("SELECT count(*) FROM {table} WHERE {marked} AND right({column}, 36) <> tenant_id::text");
        assert_eq!(sql.number(&strays).await, 0, "{table}");
        counts.insert(table, sql.number(&format!("SELECT count(*) FROM {table} WHERE {marked}")).await);
    }
    assert!(counts.values().all(|count| *count > 0), "every table was looked at: {counts:?}");
}

/// Checks that no transaction is left open, not even one that only read.
async fn nothing_is_open(sql: &Sql) {
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND application_name = 'crm-backend' AND (state LIKE 'idle in transaction%'
                    OR (state = 'idle' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)))";
    eventually("no transaction is open", async || sql.number(open).await == 0).await;
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                 WHERE a.datname = current_database() AND a.application_name = 'crm-backend'
                 AND l.locktype IN ('relation', 'tuple', 'transactionid')";
    eventually("no row or table is held", async || sql.number(locks).await == 0).await;
}

async fn storm(connections: u16, tenants: usize, rounds: usize) {
    let (crm, role) = powerless(connections).await;
    let sql = crm.sql().await;
    has_no_rights(&sql, &role).await;
    let mut renewal = JoinSet::new();
    renewal.spawn(renew(crm.sql().await, role.clone()));
    let tenants: Vec<Tenant> = (0..tenants).map(|_| crm.tenant()).collect();
    // Two callers of each tenant, so that statements of one tenant also follow each other.
    at_once(tenants.iter().chain(&tenants).map(|tenant| everything(tenant.clone(), rounds))).await;
    renewal.shutdown().await;
    every_row_is_at_home(&sql).await;
    nothing_is_open(&sql).await;
    sql.run(&format!("DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_runs_without_its_tenant_on_one_connection() {
    storm(1, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_runs_without_its_tenant_on_many_connections() {
    storm(4, 3, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_call_on_a_fresh_connection_is_like_every_other() {
    let (crm, role) = powerless(1).await;
    let sql = crm.sql().await;
    let (ana, ben) = (crm.tenant(), crm.tenant());
    let talks = [(&ana, ana.conversation().await.id), (&ben, ben.conversation().await.id)];
    for round in 0..3 {
        for (tenant, id) in &talks {
            sql.run(&format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{role}'"
            ))
            .await;
            // The first statement of the new connection belongs to a read, a write or a batch.
            match round % 3 {
                0 => drop(retry(|| tenant.read(id)).await),
                1 => drop(retry(|| tenant.create(named("Zoe"))).await),
                _ => write(tenant, id, round).await,
            }
            nothing_is_open(&sql).await;
        }
    }
    for (tenant, id) in &talks {
        let found = tenant.messages(id, 0).await;
        assert_eq!(found.len(), 2);
        let own = |message: &crm_backend::pb::Message| {
            message.content == tenant.id.to_string() && message.status() == MessageStatus::Completed
        };
        assert!(found.iter().all(own), "{found:?}");
    }
    sql.run(&format!("DROP ROLE {role}")).await;
}

impl Tenant {
    /// Creates a question of a customer, or returns the error.
    async fn ask_of(&self, customer_id: &str) -> Result<crm_backend::pb::PendingQuestion, Status> {
        let question = crate::support::questions::question(customer_id, &self.id.to_string());
        Ok(self.create_question(question).await?.0)
    }

    /// Creates a conversation with a new customer, or returns the error.
    async fn open_some(&self) -> Result<crm_backend::pb::Conversation, Status> {
        let customer_id = self.create(named(&self.id.to_string())).await?.id;
        self.open(crm_backend::pb::Conversation { customer_id, ..Default::default() }).await
    }
}
