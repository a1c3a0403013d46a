//! Group commit: whatever waits is committed together.
//!
//! Items go into one fair queue. A writer takes what waits the moment it is free, commits it, and
//! takes again: there is no timer, so that an idle system commits at once and a busy one in large
//! batches. A second writer starts when the first is busy and enough waits to make another batch of
//! its own; fewer would only split what could have been one batch. A writer that is stuck, as behind a
//! connection on which no answer comes, keeps no other from starting. A topic is with one writer at a
//! time, so that its items are committed in their order.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::bus::Topic;
use super::queue::{Batch, Queue};
use crate::db::turns::{Room, Turns};
use crate::metrics::{self, Lane, LaneHandles};
use crate::traces::{Batch as Told, Trace};

/// Topics that are committed apart at once, half of them of one tenant at most. Each takes a connection,
/// perhaps for seconds where another transaction holds what it needs; so many leave most of a pool to
/// others.
const APART: usize = 6;

/// After this time a batch counts as stuck: several hundred times what one takes, so that a busy database
/// is not asked for more at once.
const STUCK: Duration = Duration::from_secs(1);

/// Writers, as a multiple of those that are allowed, while some are stuck. Each has a connection.
const WITH_STUCK: usize = 2;

/// Topics of a tenant that may wait to be committed apart: those of four batches that failed. Beyond that
/// a client has to wait, and not the memory of the service to grow.
const APART_WAITING: usize = 1_024;

/// How long a topic waits to be committed apart, at most: as long as committing it may take.
const APART_WAIT: Duration = Duration::from_secs(10);

/// How to commit items.
pub trait Commit: Send + Sync + 'static {
    /// What is committed.
    type Item: Send + 'static;

    /// Where.
    const LANE: Lane;

    /// What an item is about.
    fn topic(&self, item: &Self::Item) -> Topic;

    /// The trace of the call that asks for an item, and since when it waits.
    fn asked<'i>(&self, item: &'i Self::Item) -> (&'i Trace, Instant);

    /// Commits items of many topics, and tells those who wait for them. What is better done apart from
    /// the others, because it failed or would have to wait, comes back untouched and in its order. What
    /// is done is told in `trace`.
    fn together(&self, items: Vec<Self::Item>, trace: &Trace)
    -> impl Future<Output = Vec<Self::Item>> + Send;

    /// Commits items of one topic, and tells those who wait for them, whatever happens.
    fn apart(&self, items: Vec<Self::Item>, trace: &Trace) -> impl Future<Output = ()> + Send;

    /// Tells those who wait for items that these are not committed, because too much of their tenant is
    /// to be committed apart.
    fn refuse(&self, items: Vec<Self::Item>);
}

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    /// Writers at most.
    pub writers: usize,
    /// Items of a batch at most.
    pub batch: usize,
    /// Tenants of a batch at most: each costs statements of its own.
    pub tenants: usize,
}

/// Where items wait to be committed.
pub struct Lanes<C: Commit> {
    shared: Arc<Shared<C>>,
}

struct Shared<C: Commit> {
    commit: C,
    width: Width,
    state: Mutex<State<C::Item>>,
    tracker: TaskTracker,
    /// Bounds what is committed apart, which takes connections beyond those of the writers. A tenant whose
    /// topics are held, or fail, keeps no other waiting.
    apart: Turns,
    /// After this time a batch counts as stuck.
    patience: Duration,
    /// Where all of it is counted.
    handles: LaneHandles,
}

struct State<T> {
    queue: Queue<T>,
    writers: usize,
    /// How many of the writers are stuck.
    stuck: usize,
}

impl<C: Commit> Clone for Lanes<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Commit> Lanes<C> {
    /// Lanes whose writers are tasks of `tracker`, and that are counted by `handles`.
    pub fn new(commit: C, width: Width, tracker: TaskTracker, handles: LaneHandles) -> Self {
        Self::with_patience(commit, width, tracker, (handles, STUCK))
    }

    fn with_patience(
        commit: C,
        width: Width,
        tracker: TaskTracker,
        (handles, patience): (LaneHandles, Duration),
    ) -> Self {
        let state = Mutex::new(State { queue: Queue::new(), writers: 0, stuck: 0 });
        let apart = Turns::new(Room::halved(APART, APART_WAITING));
        Self { shared: Arc::new(Shared { commit, width, state, tracker, apart, patience, handles }) }
    }

    /// Puts items in line. Whoever submits must bound what it has waiting.
    pub fn submit(&self, items: impl IntoIterator<Item = C::Item>) {
        let starts = self.shared.with(|state| {
            let mut count = 0;
            for item in items {
                state.queue.push(self.shared.commit.topic(&item), item);
                count += 1;
            }
            self.shared.handles.queue.inc_by(count);
            self.shared.needs_writer(state)
        });
        if starts {
            Shared::start_writer(&self.shared);
        }
    }
}

impl<C: Commit> Shared<C> {
    fn with<R>(&self, change: impl FnOnce(&mut State<C::Item>) -> R) -> R {
        // Nothing in here panics half way, so a poisoned state is whole.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        metrics::set(&self.handles.writers, state.writers);
        metrics::set(&self.handles.stuck, state.stuck);
        result
    }

    /// Whether one more writer is to start, which is counted then.
    fn needs_writer(&self, state: &mut State<C::Item>) -> bool {
        let enough = match state.writers - state.stuck {
            0 => 1,
            busy if busy < self.width.writers => self.width.batch,
            _ => return false,
        };
        let room = state.writers < self.width.writers * WITH_STUCK;
        let starts = room && state.queue.ready() >= enough;
        state.writers += usize::from(starts);
        starts
    }

    fn start_writer(this: &Arc<Self>) {
        let shared = Arc::clone(this);
        this.tracker.spawn(async move { shared.write().await });
    }

    /// Commits batches until nothing waits.
    async fn write(self: Arc<Self>) {
        while let Some(Batch { items, topics }) = self.with(|state| {
            let batch = state.queue.take(self.width.batch, self.width.tenants);
            state.writers -= usize::from(batch.items.is_empty());
            (!batch.items.is_empty()).then_some(batch)
        }) {
            let (count, began) = (items.len(), Instant::now());
            self.handles.queue.dec_by(i64::try_from(count).unwrap_or(i64::MAX));
            let mut turn = Turn { shared: Arc::clone(&self), topics, is_writer: true, is_stuck: false };
            let mut told = Told::begin(C::LANE, items.iter().map(|item| self.commit.asked(item)));
            let trace = told.trace().clone();
            let mut committing = pin!(self.commit.together(items, &trace));
            let left = match timeout(self.patience, &mut committing).await {
                Ok(left) => left,
                Err(_) => {
                    turn.note_stuck();
                    committing.await
                }
            };
            told.left(left.len());
            drop(told);
            self.handles.batch(count, began.elapsed());
            self.handles.apart.inc_by(left.len() as u64);
            let mut apart: HashMap<Topic, Vec<C::Item>> = HashMap::new();
            for item in left {
                apart.entry(self.commit.topic(&item)).or_default().push(item);
            }
            turn.topics.retain(|topic| !apart.contains_key(topic));
            turn.is_writer = false;
            drop(turn);
            for (topic, items) in apart {
                self.tracker.spawn(Arc::clone(&self).write_apart(topic, items));
            }
        }
    }

    /// Commits what was left of a topic, which nobody else has meanwhile.
    async fn write_apart(self: Arc<Self>, topic: Topic, items: Vec<C::Item>) {
        let _turn =
            Turn { shared: Arc::clone(&self), topics: vec![topic], is_writer: false, is_stuck: false };
        let since = Instant::now();
        let taken = timeout(APART_WAIT, self.apart.take(topic.tenant)).await;
        let told = Told::begin(C::LANE, items.iter().map(|item| (self.commit.asked(item).0, since)));
        match taken {
            Ok(Ok(_place)) => self.commit.apart(items, told.trace()).await,
            Ok(Err(_)) | Err(_) => {
                self.handles.refused.inc();
                self.commit.refuse(items);
            }
        }
    }
}

/// Topics that are with one writer, until this is dropped: also when committing them panicked.
struct Turn<C: Commit> {
    shared: Arc<Shared<C>>,
    topics: Vec<Topic>,
    /// Whether a writer ends with this.
    is_writer: bool,
    /// Whether its writer is among those that are stuck.
    is_stuck: bool,
}

impl<C: Commit> Turn<C> {
    /// Lets another writer start for what waits.
    fn note_stuck(&mut self) {
        self.is_stuck = true;
        let starts = self.shared.with(|state| {
            state.stuck += 1;
            self.shared.needs_writer(state)
        });
        if starts {
            Shared::start_writer(&self.shared);
        }
    }
}

impl<C: Commit> Drop for Turn<C> {
    fn drop(&mut self) {
        let starts = self.shared.with(|state| {
            self.topics.drain(..).for_each(|topic| state.queue.release(topic));
            state.writers -= usize::from(self.is_writer);
            state.stuck -= usize::from(self.is_stuck);
            self.shared.needs_writer(state)
        });
        if starts {
            Shared::start_writer(&self.shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{mpsc, oneshot};
    use uuid::Uuid;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    /// Tells which batches began, each of which ends when its test says so.
    struct Held {
        began: mpsc::UnboundedSender<(Vec<u128>, oneshot::Sender<()>)>,
        at_once: AtomicUsize,
    }

    impl Commit for Held {
        type Item = u128;

        const LANE: Lane = Lane::Lookups;

        fn topic(&self, item: &u128) -> Topic {
            Topic { tenant: Uuid::from_u128(1), id: Uuid::from_u128(*item) }
        }

        fn asked<'i>(&self, _: &'i u128) -> (&'i Trace, Instant) {
            const NONE: &Trace = &Trace::NONE;
            (NONE, Instant::now())
        }

        async fn together(&self, items: Vec<u128>, _: &Trace) -> Vec<u128> {
            self.at_once.fetch_add(1, Ordering::Relaxed);
            let (end, ended) = oneshot::channel();
            self.began.send((items, end)).expect("a test that listens");
            ended.await.expect("an end");
            Vec::new()
        }

        async fn apart(&self, _: Vec<u128>, _: &Trace) {}

        fn refuse(&self, _: Vec<u128>) {}
    }

    #[tokio::test]
    async fn a_stuck_writer_keeps_no_other_from_starting_and_only_so_many_start() {
        let (began, mut begins) = mpsc::unbounded_channel();
        let held = Held { began, at_once: AtomicUsize::new(0) };
        let width = Width { writers: 2, batch: 64, tenants: 16 };
        let lanes = Lanes::with_patience(held, width, TaskTracker::new(), (LaneHandles::default(), PATIENCE));
        let mut ends = Vec::new();
        // Each is far less than a batch of its own, and waits behind all that are stuck.
        for item in 0..4 {
            lanes.submit([item]);
            let (items, end) = begins.recv().await.expect("a writer");
            assert_eq!(items, [item]);
            ends.push(end);
        }
        lanes.submit([4, 5]);
        let one_more = timeout(PATIENCE * 10, begins.recv()).await;
        assert!(one_more.is_err(), "each stuck writer has a connection, so there are not many");
        assert_eq!(lanes.shared.commit.at_once.load(Ordering::Relaxed), 4);
        ends.pop().expect("a batch").send(()).expect("a writer");
        let (items, end) = begins.recv().await.expect("the writer goes on");
        assert_eq!(items, [4, 5]);
        ends.push(end);
        for end in ends {
            end.send(()).expect("a writer");
        }
        lanes.shared.tracker.close();
        lanes.shared.tracker.wait().await;
        assert_eq!(lanes.shared.with(|state| (state.writers, state.stuck)), (0, 0));
    }
}
