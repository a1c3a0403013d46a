//! Fan-out within a process: what happens to a topic, told to all who watch it.
//!
//! Nobody waits for anybody here. A watcher that is slower than what happens misses some of it, is
//! told that it did, and reads it from the database.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast;

use super::bus::Topic;
use crate::auth::Caller;

pub use broadcast::error::RecvError;

/// Events of a topic that a watcher may be behind before it is sent to the database: more than a second
/// of a model's tokens. They are shared by all watchers of the topic.
const EVENTS: usize = 64;

/// Who watches what.
#[derive(Debug)]
pub struct Hub<E> {
    topics: RwLock<HashMap<Topic, Entry<E>>>,
}

#[derive(Debug)]
struct Entry<E> {
    events: broadcast::Sender<E>,
    /// One of those who watch it, in whose name the topic may be looked at.
    caller: Caller,
}

impl<E: Clone> Hub<E> {
    /// A hub where nobody watches anything.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { topics: RwLock::default() })
    }

    /// From here on, all that happens to a topic of the caller's tenant.
    pub fn watch(self: &Arc<Self>, caller: &Caller, topic: Topic) -> Subscription<E> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let entry = topics
            .entry(topic)
            .or_insert_with(|| Entry { events: broadcast::Sender::new(EVENTS), caller: caller.clone() });
        let events = Some(entry.events.subscribe());
        Subscription { events, topic, hub: Arc::clone(self) }
    }

    /// Tells those who watch a topic, if there are any.
    pub fn tell(&self, topic: Topic, event: impl FnOnce() -> E) {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = topics.get(&topic) {
            // This fails when the last watcher is just leaving.
            let _ = entry.events.send(event());
        }
    }

    /// What is watched, each with a caller of its tenant.
    pub fn watched(&self) -> Vec<(Topic, Caller)> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.iter().map(|(topic, entry)| (*topic, entry.caller.clone())).collect()
    }
}

/// A watch of a topic. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription<E> {
    /// There until it is dropped.
    events: Option<broadcast::Receiver<E>>,
    topic: Topic,
    hub: Arc<Hub<E>>,
}

impl<E: Clone> Subscription<E> {
    /// What happens next. May be given up while it waits.
    ///
    /// # Errors
    ///
    /// `Lagged` when something was missed.
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
        // Of two that leave at once, the later one must see that the other is gone.
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

    fn caller() -> Caller {
        Caller::caretaker(Uuid::from_u128(7))
    }

    fn topic(id: u128) -> Topic {
        Topic { tenant: Uuid::from_u128(7), id: Uuid::from_u128(id) }
    }

    #[tokio::test]
    async fn those_who_watch_a_topic_are_told() {
        let hub = Hub::new();
        let (mut one, mut two) = (hub.watch(&caller(), topic(1)), hub.watch(&caller(), topic(1)));
        hub.tell(topic(1), || "yes");
        hub.tell(topic(2), || "no");
        assert_eq!((one.next().await, two.next().await), (Ok("yes"), Ok("yes")));
    }

    #[tokio::test]
    async fn a_slow_watcher_learns_that_it_missed_something() {
        let hub = Hub::new();
        let mut slow = hub.watch(&caller(), topic(1));
        for number in 0..=EVENTS {
            hub.tell(topic(1), || number);
        }
        assert_eq!(slow.next().await, Err(RecvError::Lagged(1)));
        assert_eq!(slow.next().await, Ok(1));
    }

    #[test]
    fn what_nobody_watches_is_forgotten_and_not_even_made() {
        let hub = Hub::new();
        let (one, two) = (hub.watch(&caller(), topic(1)), hub.watch(&caller(), topic(1)));
        drop(one);
        assert_eq!(hub.watched().len(), 1);
        drop(two);
        assert!(hub.watched().is_empty());
        hub.tell(topic(1), || panic!("nobody asked"));
    }
}
