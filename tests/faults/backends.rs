//! The Postgres processes that serve the program's connections.

use std::collections::HashSet;
use std::time::Duration;

use crm_backend::db::Target;
use crm_testkit::{meter, within};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Double, Integer};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use rustix::process::{Pid, Signal, kill_process};

use super::client::PAUSE;

/// The processes of this database, except the one that asks.
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

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
    /// Whether it waits for its client or for a row lock: then it holds nothing that all of Postgres needs.
    #[diesel(sql_type = Bool)]
    waits: bool,
}

/// Processes that stay stopped until this is dropped.
#[derive(Default)]
pub(crate) struct Stopped(HashSet<Pid>);

impl Stopped {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    async fn stop(&mut self, pid: Pid) {
        // It may have ended meanwhile.
        if kill_process(pid, Signal::STOP).is_ok() && self.0.insert(pid) {
            within(async {
                while meter::state(pid).is_some_and(|state| state != 'T') {
                    tokio::time::sleep(PAUSE / 10).await;
                }
            })
            .await;
        }
    }

    async fn go_on(&mut self, pid: Pid) {
        if self.0.remove(&pid) {
            let _ = kill_process(pid, Signal::CONT);
            tokio::time::sleep(PAUSE / 10).await;
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// An operator's connection.
pub(crate) struct Operator(AsyncPgConnection);

impl Operator {
    pub(crate) async fn connect(url: &str) -> Self {
        let target = Target::parse(url).expect("a URL");
        Self(within(target.open_bare()).await.expect("a connection"))
    }

    /// Runs statements without results.
    pub(crate) async fn execute(&mut self, sql: &str) {
        within(self.0.batch_execute(sql)).await.expect(sql);
    }

    async fn count(&mut self, sql: &str) -> usize {
        let count: Count = within(diesel::sql_query(sql).get_result(&mut self.0)).await.expect(sql);
        usize::try_from(count.count).expect("a count")
    }

    /// Ends all connections of the program, and returns how many there were.
    pub(crate) async fn terminate(&mut self) -> usize {
        self.count(&format!("SELECT count(pg_terminate_backend(pid)) {OURS}")).await
    }

    /// Stops the processes of all connections of the program, each when it holds nothing that all of Postgres needs:
    /// new connections must still work.
    pub(crate) async fn stop(&mut self) -> Stopped {
        let mut stopped = Stopped::default();
        within(async {
            loop {
                let sql = format!(
                    "SELECT pid, coalesce(wait_event_type IN ('Client', 'Lock'), false) AS waits {OURS}"
                );
                let found: Vec<Backend> = diesel::sql_query(&sql).load(&mut self.0).await.expect("processes");
                let found = found.into_iter().map(|one| (Pid::from_raw(one.pid).expect("an id"), one.waits));
                let left: Vec<_> =
                    found.filter(|(pid, waits)| !(*waits && stopped.0.contains(pid))).collect();
                if left.is_empty() {
                    return;
                }
                for (pid, _) in left {
                    stopped.go_on(pid).await;
                    stopped.stop(pid).await;
                }
            }
        })
        .await;
        stopped
    }

    /// Returns how many stopped processes have written or locked a row without committing.
    pub(crate) async fn holding(&mut self, stopped: &Stopped) -> usize {
        let ids: Vec<_> = stopped.0.iter().map(|pid| pid.as_raw_pid().to_string()).collect();
        self.count(&format!(
            "SELECT count(*) {OURS} AND backend_xid IS NOT NULL AND pid = ANY ('{{{}}}')",
            ids.join(", ")
        ))
        .await
    }

    /// Returns how many processes wait for a lock.
    pub(crate) async fn waiting(&mut self) -> usize {
        self.count(&format!("SELECT count(*) {OURS} AND wait_event_type = 'Lock'")).await
    }

    /// Returns the longest time that a process has been idle in a transaction.
    pub(crate) async fn longest_idle_in_transaction(&mut self) -> Duration {
        let sql = format!(
            "SELECT coalesce(extract(epoch FROM max(clock_timestamp() - state_change)), 0)::float8 AS seconds \
             {OURS} AND state LIKE 'idle in transaction%'"
        );
        let found: Seconds = within(diesel::sql_query(&sql).get_result(&mut self.0)).await.expect("a time");
        Duration::from_secs_f64(found.seconds.max(0.0))
    }
}
