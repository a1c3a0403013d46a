//! Fan-out within a process: the events of a topic are told to all its watchers.
//!
//! Neither side waits for the other. A watcher that is slower than the events misses some of them, is told that
//! it did, and reads them from the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::broadcast;

use super::bus::Topic;

pub use broadcast::error::RecvError;

/// The number of events of a topic that a watcher may be behind before it is sent to the database. It is more
/// than a second of a model's tokens. All watchers of the topic share the events.
const EVENTS: usize = 64;

/// The limit of bytes of the events of a topic that wait for its slowest watcher. Of a larger event, watchers
/// are only told that it is there. So a watcher that does not read never holds more memory than this.
const BYTES: usize = 64 << 10;

/// An event that is told.
pub trait Event: Clone {
    /// Returns the bytes that it holds while it waits.
    fn bytes(&self) -> usize;

    /// Returns the event in a few bytes: only that there is something to read. `None` if watchers learn of it
    /// otherwise.
    fn hint(self) -> Option<Self>;
}

/// The watchers of all topics.
#[derive(Debug)]
pub struct Hub<E> {
    topics: RwLock<HashMap<Topic, Entry<E>>>,
}

#[derive(Debug)]
struct Entry<E> {
    events: broadcast::Sender<E>,
    /// The bytes of each event that some watcher may not have read, the latest last.
    waiting: Mutex<VecDeque<usize>>,
}

impl<E: Event> Hub<E> {
    /// Creates a hub without watchers.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { topics: RwLock::default() })
    }

    /// Watches a topic: all its events from now on.
    pub fn watch(self: &Arc<Self>, topic: Topic) -> Subscription<E> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let entry = topics
            .entry(topic)
            .or_insert_with(|| Entry { events: broadcast::Sender::new(EVENTS), waiting: Mutex::default() });
        let events = Some(entry.events.subscribe());
        Subscription { events, topic, hub: Arc::clone(self) }
    }

    /// Tells the watchers of a topic, if there are any.
    pub fn tell(&self, topic: Topic, event: impl FnOnce() -> E) {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = topics.get(&topic) {
            entry.tell(event());
        }
    }

    /// Returns the number of events that wait for the slowest watcher of any topic.
    pub fn lag(&self) -> usize {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().map(|entry| entry.events.len()).max().unwrap_or(0)
    }

    /// Returns the topics that are watched.
    pub fn watched(&self) -> Vec<Topic> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.keys().copied().collect()
    }
}

impl<E: Event> Entry<E> {
    fn tell(&self, event: E) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let read = waiting.len().saturating_sub(self.events.len());
        waiting.drain(..read);
        let room = BYTES.saturating_sub(waiting.iter().sum());
        let event = if event.bytes() <= room { Some(event) } else { event.hint() };
        if let Some(event) = event {
            waiting.push_back(event.bytes());
            // This fails if the last watcher is just leaving.
            let _ = self.events.send(event);
        }
    }
}

/// A watch of a topic. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription<E> {
    /// `Some` until it is dropped.
    events: Option<broadcast::Receiver<E>>,
    topic: Topic,
    hub: Arc<Hub<E>>,
}

impl<E: Event> Subscription<E> {
    /// Returns the next event. May be cancelled while it waits.
    ///
    /// # Errors
    ///
    /// `Lagged` if events were missed.
    pub async fn next(&mut self) -> Result<E, RecvError> {
        match &mut self.events {
            Some(events) => events.recv().await,
            None => Err(RecvError::Closed),
        }
    }
}

impl<E> Drop for Subscription<E> {
    fn drop(&mut self) {
        let mut topics = self.hub.topics.write().unwrap_or_else(PoisonError::into_inner);
        // If two watchers leave at once, the later one must see that the other is gone.
        self.events = None;
        if topics.get(&self.topic).is_some_and(|entry| entry.events.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Implements events that hold no bytes.
    macro_rules! small {
        ($($event:ty),*) => {$(
            impl Event for $event {
                fn bytes(&self) -> usize {
                    0
                }

                fn hint(self) -> Option<Self> {
                    Some(self)
                }
            }
        )*};
    }

    small!(&'static str, usize);

    /// A large event, whole or as a hint.
    #[derive(Debug, Clone, PartialEq)]
    enum Large {
        Whole(Vec<u8>),
        Hint,
    }

    impl Event for Large {
        fn bytes(&self) -> usize {
            match self {
                Self::Whole(bytes) => bytes.len(),
                Self::Hint => 0,
            }
        }

        fn hint(self) -> Option<Self> {
            Some(Self::Hint)
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_watcher_that_does_not_read_is_bounded_in_bytes() {
        let hub = Hub::new();
        let mut slow = hub.watch(topic(1));
        let whole = || Large::Whole(vec![0; BYTES / 2]);
        for _ in 0..3 {
            hub.tell(topic(1), whole);
        }
        for expected in [whole(), whole(), Large::Hint] {
            assert_eq!(slow.next().await, Ok(expected));
        }
        // The watcher has read, so there is room again, but not for an event that is larger than the limit.
        hub.tell(topic(1), whole);
        hub.tell(topic(1), || Large::Whole(vec![0; BYTES + 1]));
        assert_eq!((slow.next().await, slow.next().await), (Ok(whole()), Ok(Large::Hint)));
    }

    fn topic(id: u128) -> Topic {
        Topic { tenant: Uuid::from_u128(7), id: Uuid::from_u128(id) }
    }

    #[tokio::test]
    async fn those_who_watch_a_topic_are_told() {
        let hub = Hub::new();
        let (mut one, mut two) = (hub.watch(topic(1)), hub.watch(topic(1)));
        hub.tell(topic(1), || "yes");
        hub.tell(topic(2), || "no");
        assert_eq!((one.next().await, two.next().await), (Ok("yes"), Ok("yes")));
    }

    #[tokio::test]
    async fn a_slow_watcher_learns_that_it_missed_something() {
        let hub = Hub::new();
        let mut slow = hub.watch(topic(1));
        for number in 0..=EVENTS {
            hub.tell(topic(1), || number);
        }
        assert_eq!(slow.next().await, Err(RecvError::Lagged(1)));
        assert_eq!(slow.next().await, Ok(1));
    }

    #[test]
    fn what_nobody_watches_is_forgotten_and_not_even_made() {
        let hub = Hub::<usize>::new();
        let (one, two) = (hub.watch(topic(1)), hub.watch(topic(1)));
        drop(one);
        assert_eq!(hub.watched().len(), 1);
        drop(two);
        assert!(hub.watched().is_empty());
        hub.tell(topic(1), || panic!("nobody asked"));
    }
}
