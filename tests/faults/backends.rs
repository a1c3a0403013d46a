//! A look into Postgres: the processes that serve the program's connections.

use std::time::Duration;

use crm_backend::db::Target;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::client::within;

/// Those of this database, but for the one that asks.
const OURS: &str = "FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'crm-backend' AND pid <> pg_backend_pid()";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Seconds {
    #[diesel(sql_type = Double)]
    seconds: f64,
}

/// A connection of an operator's.
pub(crate) struct Operator(AsyncPgConnection);

impl Operator {
    pub(crate) async fn connect(url: &str) -> Self {
        let target = Target::parse(url).expect("a URL");
        Self(within(target.open()).await.expect("a connection"))
    }

    /// Runs statements that answer nothing.
    pub(crate) async fn execute(&mut self, sql: &str) {
        within(self.0.batch_execute(sql)).await.expect(sql);
    }

    async fn count(&mut self, sql: &str) -> usize {
        let count: Count = within(diesel::sql_query(sql).get_result(&mut self.0)).await.expect(sql);
        usize::try_from(count.count).expect("a count")
    }

    /// Ends all connections of the program, and says how many there were.
    pub(crate) async fn terminate(&mut self) -> usize {
        self.count(&format!("SELECT count(pg_terminate_backend(pid)) {OURS}")).await
    }

    /// How many wait for a lock.
    pub(crate) async fn waiting(&mut self) -> usize {
        self.count(&format!("SELECT count(*) {OURS} AND wait_event_type = 'Lock'")).await
    }

    /// How long the one that has been longest is idle in a transaction.
    pub(crate) async fn longest_idle_in_transaction(&mut self) -> Duration {
        let sql = format!(
            "SELECT coalesce(extract(epoch FROM max(clock_timestamp() - state_change)), 0)::float8 AS seconds \
             {OURS} AND state LIKE 'idle in transaction%'"
        );
        let found: Seconds = within(diesel::sql_query(&sql).get_result(&mut self.0)).await.expect("a time");
        Duration::from_secs_f64(found.seconds.max(0.0))
    }
}
