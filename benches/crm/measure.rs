//! Ways to measure: the rate in a round, the latency of sequential calls, and statistics of the numbers.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::costs::{Costs, Work};
use crate::{Result, perf};

/// The time before a round that does not count: connections, statements and caches warm up.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);

/// Returns the median of some numbers.
pub(crate) fn median(numbers: &[f64]) -> Result<f64> {
    quantile(numbers, 0.5)
}

/// Returns the number that this share of the numbers does not exceed.
pub(crate) fn quantile(numbers: &[f64], share: f64) -> Result<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1).ok_or("nothing was measured")?;
    let index = (last as f64 * share).ceil() as usize;
    sorted.get(index).copied().ok_or_else(|| "nothing was measured".into())
}

/// Returns a duration in milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Tasks that repeat the same work until they are stopped, with a count of the work.
pub(crate) struct Load {
    tasks: JoinSet<Result<()>>,
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) stop: CancellationToken,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { tasks: JoinSet::new(), done: Arc::default(), stop: CancellationToken::new() }
    }

    /// Adds a task, which counts its work and ends when it is told to.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Adds a task that makes calls one after the other.
    pub(crate) fn spawn_calls<C, F>(&mut self, mut call: C)
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send,
    {
        let (done, stop) = (Arc::clone(&self.done), self.stop.clone());
        self.spawn(async move {
            while !stop.is_cancelled() {
                call().await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }

    /// Returns the work per second in a round, and then stops all tasks.
    pub(crate) async fn rate(self, round: Duration) -> Result<f64> {
        self.rate_after(WARM_UP, round, None).await
    }

    /// As [`Load::rate`], after a warm-up of this length, and perhaps with the cost of the work.
    pub(crate) async fn rate_after(
        mut self,
        warm_up: Duration,
        round: Duration,
        cost: Option<(&Costs, Work)>,
    ) -> Result<f64> {
        self.go_on_for(warm_up).await?;
        let recording = perf::begin().await?;
        let running = cost.map(|(costs, work)| costs.begin(work));
        let (began, before) = (Instant::now(), self.done.load(Ordering::Relaxed));
        self.go_on_for(round).await?;
        let (took, after) = (began.elapsed(), self.done.load(Ordering::Relaxed));
        if let Some(running) = running {
            running.end(after - before);
        }
        perf::end(recording).await?;
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let done = (after - before) as f64;
        Ok(done / took.as_secs_f64())
    }

    /// Waits for some time. A task that ends earlier is an error.
    async fn go_on_for(&mut self, time: Duration) -> Result<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            Some(ended) = self.tasks.join_next() => match ended? {
                Ok(()) => Err("a client ended before it was told to".into()),
                Err(error) => Err(error),
            },
        }
    }
}

/// Returns the milliseconds of each call in a round of sequential calls.
pub(crate) async fn one_by_one<C>(round: Duration, mut call: C) -> Result<Vec<f64>>
where
    C: AsyncFnMut() -> Result<()>,
{
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        call().await?;
    }
    let recording = perf::begin().await?;
    let end = Instant::now() + round;
    let mut took = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        call().await?;
        took.push(milliseconds(began.elapsed()));
    }
    perf::end(recording).await?;
    Ok(took)
}
