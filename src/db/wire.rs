//! A connection on which every wait has a limit.
//!
//! Postgres has limits of its own. But if its process is stopped, its host is lost, or the network loses packets,
//! neither an answer nor the end of the connection ever comes. So every question goes through [`Wire::answer`] or
//! [`Wire::ask`], the only ways to the connection. If an answer does not come in time, the wire is given up: nothing
//! more is sent on it, and the pool drops it.
//!
//! A missed probe on one wire warns the others. It casts doubt on all wires of the process that
//! have been silent since it was sent (see [`Pulse`]). Idle wires in doubt are not used again, and the answers
//! awaited on the others have little time left. So a stopped Postgres costs one wait, and not one per connection.
//! Other missed answers cast no doubt, because a transaction may be long.

use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Deadline;
use crate::error::Error;

/// How long after its own limit an error of Postgres may arrive: time for the network, and for a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// How long an answer may still take on a wire in doubt. A database that paused for a moment, as when its machine is
/// moved, continues with its questions.
const GRACE: Duration = Duration::from_secs(5);

/// The error if an answer did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Postgres did not answer in time; the connection is given up")]
pub struct Missed;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer<E> {
    /// The answer did not come in time.
    #[error(transparent)]
    Missed(#[from] Missed),
    /// The error of Postgres, or of the network.
    #[error("{0}")]
    Refused(E),
}

impl From<Missed> for Error {
    fn from(missed: Missed) -> Self {
        Self::database_unavailable(missed)
    }
}

/// Until when an answer must come.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    at: Instant,
    /// Whether a missed answer can only mean that Postgres or the network is unhealthy.
    is_probe: bool,
}

impl Limit {
    /// The limit of a transaction whose statements Postgres was told to end at `deadline`.
    pub fn kept_by_postgres(deadline: Deadline) -> Self {
        Self { at: Instant::from_std(deadline.at()) + SLACK, is_probe: false }
    }

    /// This long from now.
    pub fn after(patience: Duration) -> Self {
        Self { at: Instant::now() + patience, is_probe: false }
    }

    /// This long from now, for a question that a healthy Postgres answers in a fraction of that.
    pub fn of_probe(patience: Duration) -> Self {
        Self { at: Instant::now() + patience, is_probe: true }
    }
}

/// What all wires of a process to one database share: since when Postgres is in doubt.
#[derive(Clone)]
pub struct Pulse(Arc<Shared>);

struct Shared {
    /// The moment from which times are counted.
    began: Instant,
    /// When the latest missed probe was sent, in microseconds after `began`; 0 if none was missed. A wire without an
    /// answer since then is in doubt.
    doubt: watch::Sender<u64>,
    /// How many answers are awaited on wires in doubt.
    doubtful: AtomicUsize,
    grace: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self::with_grace(GRACE)
    }
}

impl Debug for Pulse {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Shared { began: _, doubt, doubtful, grace: _ } = &*self.0;
        f.debug_struct("Pulse").field("doubt", doubt).field("doubtful", doubtful).finish()
    }
}

impl Pulse {
    fn with_grace(grace: Duration) -> Self {
        let (began, doubt) = (Instant::now(), watch::Sender::new(0));
        Self(Arc::new(Shared { began, doubt, doubtful: AtomicUsize::new(0), grace }))
    }

    /// Whether calls wait for answers on wires in doubt. Then the service is degraded, even if a new connection
    /// would work.
    pub fn is_doubtful(&self) -> bool {
        self.0.doubtful.load(Ordering::Relaxed) > 0
    }

    fn now(&self) -> u64 {
        // This overflows after more than half a million years.
        u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Doubts all wires that have been silent since `asked`.
    fn doubt(&self, asked: u64) {
        self.0.doubt.send_if_modified(|doubt| {
            let later = asked > *doubt;
            *doubt = asked.max(*doubt);
            later
        });
    }
}

/// A connection, and what is known about its answers.
pub struct Wire<C = AsyncPgConnection> {
    connection: C,
    state: State,
}

struct State {
    pulse: Pulse,
    /// When the last answer came, by the clock of the pulse.
    answered: AtomicU64,
    given_up: AtomicBool,
    /// How many answers are awaited.
    awaited: AtomicUsize,
}

impl<C> Wire<C> {
    /// A wire on a connection that answered a moment ago.
    pub(super) fn new(connection: C, pulse: Pulse) -> Self {
        let answered = AtomicU64::new(pulse.now());
        let state = State { pulse, answered, given_up: AtomicBool::new(false), awaited: AtomicUsize::new(0) };
        Self { connection, state }
    }

    /// Waits for the answers to what `flight` sends through [`Wire::connection`].
    ///
    /// # Errors
    ///
    /// [`Missed`] if they did not come in time. Their outcome is unknown, and the wire is given up.
    pub async fn answer<R>(&self, limit: Limit, flight: impl Future<Output = R>) -> Result<R, Missed> {
        self.state.answer(limit, flight).await
    }

    /// Asks a question that may take at most `patience`.
    ///
    /// # Errors
    ///
    /// Why there is no answer. After [`NoAnswer::Missed`] the wire is given up.
    pub async fn ask<R, E>(
        &mut self,
        patience: Duration,
        question: impl AsyncFnOnce(&mut C) -> Result<R, E>,
    ) -> Result<R, NoAnswer<E>> {
        let answer = self.state.answer(Limit::after(patience), question(&mut self.connection));
        answer.await?.map_err(NoAnswer::Refused)
    }

    /// As [`Wire::ask`], for a question that may be asked at the same time as others.
    ///
    /// # Errors
    ///
    /// As [`Wire::ask`].
    pub async fn ask_shared<R, E>(
        &self,
        patience: Duration,
        question: impl AsyncFnOnce(&C) -> Result<R, E>,
    ) -> Result<R, NoAnswer<E>> {
        let answer = self.state.answer(Limit::after(patience), question(&self.connection));
        answer.await?.map_err(NoAnswer::Refused)
    }

    /// The connection, for use inside the future that [`Wire::answer`] awaits.
    pub fn connection(&self) -> &C {
        debug_assert!(
            self.state.awaited.load(Ordering::Relaxed) > 0,
            "what is asked outside of `Wire::answer` may never be answered"
        );
        &self.connection
    }

    /// Sends something whose answer is not awaited. Its outcome shows when the next question is answered.
    pub fn say<R>(&self, say: impl FnOnce(&C) -> R) -> R {
        say(&self.connection)
    }

    /// Whether the wire must not be used any more: it missed an answer, or it is in doubt.
    pub fn is_given_up(&self) -> bool {
        self.state.given_up.load(Ordering::Relaxed) || self.state.is_in_doubt(*self.state.doubt().borrow())
    }

    /// The connection, so that the pool can ask its driver whether it is lost.
    pub(super) fn connection_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}

impl State {
    async fn answer<R>(&self, limit: Limit, flight: impl Future<Output = R>) -> Result<R, Missed> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Missed);
        }
        let _awaited = Counted::of(&self.awaited);
        let asked = self.pulse.now();
        let flight = pin!(flight);
        tokio::select! {
            biased;
            answer = flight => {
                self.answered.store(self.pulse.now(), Ordering::Relaxed);
                Ok(answer)
            }
            () = self.overdue(limit.at) => {
                self.given_up.store(true, Ordering::Relaxed);
                if limit.is_probe {
                    self.pulse.doubt(asked);
                }
                Err(Missed)
            }
        }
    }

    /// Resolves at the limit, or when the wire has been in doubt for the grace period.
    async fn overdue(&self, limit: Instant) {
        let in_doubt = async {
            let mut doubt = self.doubt();
            // The pulse lives as long as the wire.
            let _ = doubt.wait_for(|since| self.is_in_doubt(*since)).await;
            let _counted = Counted::of(&self.pulse.0.doubtful);
            tokio::time::sleep(self.pulse.0.grace).await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(limit) => {}
            () = in_doubt => {}
        }
    }

    fn doubt(&self) -> watch::Receiver<u64> {
        self.pulse.0.doubt.subscribe()
    }

    fn is_in_doubt(&self, since: u64) -> bool {
        self.answered.load(Ordering::Relaxed) < since
    }
}

/// Counts one more, until this is dropped.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn of(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(60);

    fn wire(pulse: &Pulse) -> Wire<()> {
        Wire::new((), pulse.clone())
    }

    #[tokio::test]
    async fn a_wire_that_missed_an_answer_is_given_up() {
        let wire = wire(&Pulse::default());
        assert_eq!(wire.answer(Limit::after(SOON), ready(1)).await, Ok(1));
        assert!(!wire.is_given_up());
        assert_eq!(wire.answer(Limit::after(SOON), pending::<i32>()).await, Err(Missed));
        assert!(wire.is_given_up());
        assert_eq!(wire.answer(Limit::after(LATE), ready(1)).await, Err(Missed), "nothing more is asked");
    }

    #[tokio::test]
    async fn what_is_no_probe_casts_no_doubt_on_others() {
        let pulse = Pulse::default();
        let (slow, other) = (wire(&pulse), wire(&pulse));
        tokio::time::sleep(SOON).await;
        let missed = slow.answer(Limit::after(SOON), pending::<()>()).await;
        assert_eq!((missed, other.is_given_up()), (Err(Missed), false));
    }

    #[tokio::test]
    async fn a_probe_without_an_answer_casts_doubt_on_those_that_are_silent_since_it_was_sent() {
        let pulse = Pulse::with_grace(SOON);
        let (probe, idle, awaited, alive) = (wire(&pulse), wire(&pulse), wire(&pulse), wire(&pulse));
        tokio::time::sleep(SOON).await;
        let probing = async {
            let missed = probe.answer(Limit::of_probe(SOON * 2), pending::<()>()).await;
            assert!(!alive.is_given_up() && idle.is_given_up());
            missed
        };
        let answering = async {
            tokio::time::sleep(SOON).await;
            alive.answer(Limit::after(LATE), ready(())).await
        };
        let (missed, waited, answered) =
            tokio::join!(probing, awaited.answer(Limit::after(LATE), pending::<()>()), answering);
        assert_eq!((missed, waited, answered), (Err(Missed), Err(Missed), Ok(())));
        assert!(!alive.is_given_up() && !wire(&pulse).is_given_up(), "new wires are above doubt");
        assert!(!pulse.is_doubtful(), "nothing is awaited any more");
    }

    #[tokio::test]
    async fn an_answer_may_still_come_on_a_wire_that_is_in_doubt() {
        let pulse = Pulse::with_grace(LATE);
        let (probe, slow) = (wire(&pulse), wire(&pulse));
        tokio::time::sleep(SOON).await;
        let slowly = slow.answer(Limit::after(LATE), async {
            assert_eq!(probe.answer(Limit::of_probe(SOON), pending::<()>()).await, Err(Missed));
            while !pulse.is_doubtful() {
                tokio::time::sleep(SOON).await;
            }
        });
        assert_eq!(slowly.await, Ok(()));
        assert!(!pulse.is_doubtful() && !slow.is_given_up());
    }
}
