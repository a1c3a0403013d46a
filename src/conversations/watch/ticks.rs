//! The times at which idle watchers tell checkpoints. All watchers share them, because a timer of its own for each of
//! thousands costs more than what it is for.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// The time between two ticks. Watchers that are due within one are told together: thousands of them wake the process
/// once, and the checkpoints of those that share a connection are sent at once. So a checkpoint may come this much
/// sooner.
const TICK: Duration = Duration::from_secs(1);

/// The number of ticks that can be waited for, each with a place of its own.
const AHEAD: u32 = 64;

/// The longest time that can be waited.
pub(super) const LONGEST: Duration = TICK.saturating_mul(AHEAD - 1);

/// The ticks to come.
#[derive(Debug, Clone)]
pub(super) struct Ticks {
    /// The time of tick 0.
    began: Instant,
    /// The watchers that wait for a tick, by its number modulo [`AHEAD`].
    waiting: Arc<[Notify; AHEAD as usize]>,
}

impl Ticks {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), waiting: Arc::new(std::array::from_fn(|_| Notify::new())) }
    }

    /// Wakes the watchers of each tick, until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut interval = tokio::time::interval_at(self.began, TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            let now = self.last(Instant::now());
            // A busy process may have missed some.
            for tick in next..=now {
                self.watchers(tick).notify_waiters();
            }
            next = now + 1;
        }
    }

    /// Waits until the last tick before `time`, which is at most [`LONGEST`] away.
    pub(super) async fn before(&self, time: Instant) {
        let tick = self.last(time);
        let mut woken = pin!(self.watchers(tick).notified());
        // From here on no tick is missed.
        woken.as_mut().enable();
        if self.last(Instant::now()) < tick {
            woken.await;
        }
    }

    /// Returns the number of the last tick that is not after this time.
    fn last(&self, time: Instant) -> usize {
        let ticks = time.saturating_duration_since(self.began).as_millis() / TICK.as_millis();
        usize::try_from(ticks).unwrap_or(usize::MAX)
    }

    /// Returns the place where the watchers of a tick wait.
    fn watchers(&self, tick: usize) -> &Notify {
        &self.waiting[tick % self.waiting.len()]
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
    async fn a_watcher_is_woken_at_the_last_tick_before_its_time() {
        let ticks = Ticks::new();
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(ticks.clone().run(stop.clone()));
        for wait in [0, 1, 999, 1_000, 1_001, 2_400].map(Duration::from_millis) {
            let began = Instant::now();
            ticks.before(began + wait).await;
            assert!(began.elapsed() + TICK > wait, "{:?} of {wait:?}", began.elapsed());
        }
        // A time that is over is not waited for.
        ticks.before(ticks.began).await;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn ticks_that_a_busy_process_misses_are_made_up_for() {
        let ticks = Ticks::new();
        let stop = CancellationToken::new();
        let waits = ticks.before(ticks.began + TICK);
        let mut waits = pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        tokio::time::sleep(3 * TICK).await;
        TaskTracker::new().spawn(ticks.clone().run(stop.clone()));
        waits.await;
        stop.cancel();
    }
}
