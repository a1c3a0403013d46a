//! The environment of every test: a service of its own, on a database of its own.

pub(crate) mod audit;
pub(crate) mod campaigns;
pub(crate) mod citus;
pub(crate) mod context;
pub(crate) mod conversations;
pub(crate) mod credentials;
pub(crate) mod customers;
pub(crate) mod dashboard;
pub(crate) mod dial;
pub(crate) mod engagement;
pub(crate) mod errors;
mod everything;
pub(crate) mod faqs;
pub(crate) mod fields;
pub(crate) mod funnel;
pub(crate) mod http2;
pub(crate) mod issuer;
mod leftovers;
pub(crate) mod mcp;
pub(crate) mod misfortune;
pub(crate) mod postgres;
pub(crate) mod questions;
pub(crate) mod raw;
pub(crate) mod recount;
pub(crate) mod relay;
pub(crate) mod rest;
pub(crate) mod samples;
pub(crate) mod service;
pub(crate) mod shards;
pub(crate) mod sql;
pub(crate) mod statements;
pub(crate) mod watch;
pub(crate) mod web;

use std::future::Future;
use std::time::{Duration, Instant};

pub(crate) use errors::Refusal;
pub(crate) use service::{Crm, Settings, Tenant};

/// An etag that matches no resource.
pub(crate) const STALE_ETAG: &str = "AAAAAAAAAAAAAAAA";

/// Longer than any step here takes on a busy machine or on Citus.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Converts a time to microseconds since 1970.
pub(crate) fn micros(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.expect("a time");
    assert_eq!(time.nanos % 1_000, 0, "times are kept to the microsecond");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)
}

/// Waits for a condition that causes no event.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the result of a future, within a time limit.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("takes too long")
}

/// A background task of a test, which ends with the test at the latest.
pub(crate) struct Begun<T>(tokio::task::JoinSet<T>);

/// Starts a background task of a test.
pub(crate) fn begin<F>(future: F) -> Begun<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(future);
    Begun(tasks)
}

impl<T: 'static> Begun<T> {
    /// Waits for its end, and returns its result.
    pub(crate) async fn end(mut self) -> T {
        soon(self.0.join_next()).await.expect("one task").expect("no panic")
    }
}

/// Runs these futures in parallel, each as a task, and returns their results in order.
pub(crate) async fn at_once<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for (index, future) in futures.into_iter().enumerate() {
        tasks.spawn(async move { (index, future.await) });
    }
    let mut outputs = soon(tasks.join_all()).await;
    outputs.sort_by_key(|(index, _)| *index);
    outputs.into_iter().map(|(_, output)| output).collect()
}
