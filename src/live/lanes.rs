//! Group commit: the waiting items are committed together.
//!
//! Items go into one fair queue. A writer takes the waiting items the moment it is free, commits them, and
//! takes again. There is no timer, so an idle system commits at once and a busy one in large batches. A second
//! writer starts when the first is busy and enough items wait for a batch of its own. An earlier start would
//! only split one batch. A stuck writer, for example on a connection that does not answer, does not keep
//! another from starting. A topic is with one writer at a time, so that its items are committed in their order.

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
use crate::numbers;
use crate::traces::{Batch as Told, Trace};

/// The number of topics that are committed apart at the same time, at most half of them of one tenant. Each
/// takes a connection, perhaps for seconds while another transaction holds a lock that it needs. This number
/// leaves most of a pool to others.
const APART: usize = 6;

/// The time after which a batch counts as stuck: several hundred times what one takes, so that a busy database
/// does not get more load.
const STUCK: Duration = Duration::from_secs(1);

/// The limit of writers while some are stuck, as a multiple of the usual limit. Each has a connection.
const WITH_STUCK: usize = 2;

/// The limit of topics of a tenant that wait to be committed apart: those of four failed batches. Beyond it a
/// write is refused, so that the memory of the service does not grow.
const APART_WAITING: usize = 1_024;

/// The longest wait of a topic to be committed apart: as long as its commit may take.
const APART_WAIT: Duration = Duration::from_secs(10);

/// Commits items.
pub trait Commit: Send + Sync + 'static {
    /// The item that is committed.
    type Item: Send + 'static;

    /// The lane, for metrics.
    const LANE: Lane;

    /// Returns the topic of an item.
    fn topic(&self, item: &Self::Item) -> Topic;

    /// Returns the trace of the call that asks for an item, and the time since which the item waits.
    fn asked<'i>(&self, item: &'i Self::Item) -> (&'i Trace, Instant);

    /// Commits items of many topics, and tells the callers that wait for them. Returns, untouched and in their
    /// order, the items that should be committed apart from the others, because they failed or would have to
    /// wait. The work is traced in `trace`.
    fn together(&self, items: Vec<Self::Item>, trace: &Trace)
    -> impl Future<Output = Vec<Self::Item>> + Send;

    /// Commits items of one topic, and tells the callers that wait for them in any case.
    fn apart(&self, items: Vec<Self::Item>, trace: &Trace) -> impl Future<Output = ()> + Send;

    /// Tells the callers that wait for items that these are not committed, because too many items of their
    /// tenant wait to be committed apart.
    fn refuse(&self, items: Vec<Self::Item>);
}

/// The limits of concurrent work.
#[derive(Debug, Clone, Copy)]
pub struct Width {
    /// The limit of writers.
    pub writers: usize,
    /// The limit of items in a batch.
    pub batch: usize,
    /// The limit of tenants in a batch: each costs statements of its own.
    pub tenants: usize,
}

/// The queue of items to commit, and its writers.
pub struct Lanes<C: Commit> {
    shared: Arc<Shared<C>>,
}

struct Shared<C: Commit> {
    commit: C,
    width: Width,
    state: Mutex<State<C::Item>>,
    tracker: TaskTracker,
    /// Limits what is committed apart, which takes connections beyond those of the writers. The turns are
    /// shared between tenants: a tenant whose topics are locked, or fail, does not keep the others waiting.
    apart: Turns,
    /// The time after which a batch counts as stuck.
    patience: Duration,
    /// The metrics of the lanes.
    handles: LaneHandles,
}

struct State<T> {
    queue: Queue<T>,
    writers: usize,
    /// The number of stuck writers.
    stuck: usize,
}

impl<C: Commit> Clone for Lanes<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Commit> Lanes<C> {
    /// Creates lanes whose writers are tasks of `tracker`, and whose metrics are `handles`.
    pub fn new(commit: C, width: Width, tracker: TaskTracker, handles: LaneHandles) -> Self {
        Self::with_patience(commit, width, tracker, handles, STUCK)
    }

    fn with_patience(
        commit: C,
        width: Width,
        tracker: TaskTracker,
        handles: LaneHandles,
        patience: Duration,
    ) -> Self {
        let state = Mutex::new(State { queue: Queue::new(), writers: 0, stuck: 0 });
        let apart = Turns::new(Room::halved(APART, APART_WAITING));
        Self { shared: Arc::new(Shared { commit, width, state, tracker, apart, patience, handles }) }
    }

    /// Adds items to the queue. The caller must limit how many it has waiting.
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
        // The closure does not panic half way, so a poisoned state is complete.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state);
        metrics::set(&self.handles.writers, state.writers);
        metrics::set(&self.handles.stuck, state.stuck);
        result
    }

    /// Returns whether one more writer must start. If so, the writer is counted.
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

    /// Commits batches until no item waits.
    async fn write(self: Arc<Self>) {
        while let Some(Batch { items, topics }) = self.with(|state| {
            let batch = state.queue.take(self.width.batch, self.width.tenants);
            state.writers -= usize::from(batch.items.is_empty());
            (!batch.items.is_empty()).then_some(batch)
        }) {
            let (count, began) = (items.len(), Instant::now());
            self.handles.queue.dec_by(numbers::count(count));
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

    /// Commits the rest of a topic. No other writer has the topic meanwhile.
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

/// Topics that are with one writer. Dropping this releases them, also after a panic.
struct Turn<C: Commit> {
    shared: Arc<Shared<C>>,
    topics: Vec<Topic>,
    /// Whether a writer ends with this.
    is_writer: bool,
    /// Whether its writer is stuck.
    is_stuck: bool,
}

impl<C: Commit> Turn<C> {
    /// Counts the writer as stuck, so that another one may start for the waiting items.
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

    /// Reports which batches began. Each ends when its test says so.
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
        let lanes = Lanes::with_patience(held, width, TaskTracker::new(), LaneHandles::default(), PATIENCE);
        let mut ends = Vec::new();
        // Each item is far less than a batch, and yet it waits for none of the stuck writers.
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
