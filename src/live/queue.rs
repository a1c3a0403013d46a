//! A queue that is fair to tenants, and to the topics within a tenant.
//!
//! Items of a topic come out in the order in which they went in, and only to one taker at a time. The queue is
//! round robin on two levels: tenants take turns, and so do the topics of a tenant. So neither a busy tenant
//! nor a busy topic keeps others waiting for longer than a turn of each.

use std::collections::{HashMap, HashSet, VecDeque};

use uuid::Uuid;

use super::bus::Topic;

/// The limit of items that a topic gives in one turn. A busy topic fills a batch in a few turns, and a batch
/// still has room for many topics.
const TURN: usize = 16;

/// Waiting items, by topic.
#[derive(Debug)]
pub(super) struct Queue<T> {
    lines: HashMap<Topic, Line<T>>,
    /// The topics of each tenant that may have an item to take, in the order of their turns.
    tenants: HashMap<Uuid, VecDeque<Uuid>>,
    /// The tenants that have such topics, in the order of their turns.
    turns: VecDeque<Uuid>,
    /// The number of items that can be taken now.
    ready: usize,
    /// The number of takes so far, which distinguishes the takers.
    takes: u64,
}

/// The items of a topic.
#[derive(Debug)]
struct Line<T> {
    items: VecDeque<T>,
    /// The taker that has some of them, and has not released the topic.
    taker: Option<u64>,
    /// Whether the topic is among those of its tenant that have turns.
    listed: bool,
}

/// The items that were taken.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) items: Vec<T>,
    /// The topics of the items. No other taker gets their items before they are released.
    pub(super) topics: Vec<Topic>,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { lines: HashMap::new(), tenants: HashMap::new(), turns: VecDeque::new(), ready: 0, takes: 0 }
    }

    /// Returns the number of items that can be taken now.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Adds an item at the end of its topic's line.
    pub(super) fn push(&mut self, topic: Topic, item: T) {
        let line = self.lines.entry(topic).or_insert_with(|| Line {
            items: VecDeque::new(),
            taker: None,
            listed: false,
        });
        line.items.push_back(item);
        if line.taker.is_none() {
            self.ready += 1;
            self.list(topic);
        }
    }

    /// Takes up to `items` items of up to `tenants` tenants, in fair turns.
    pub(super) fn take(&mut self, items: usize, tenants: usize) -> Batch<T> {
        self.takes += 1;
        let mut batch = Batch { items: Vec::new(), topics: Vec::new() };
        let mut chosen = HashSet::new();
        let mut passed_over = VecDeque::new();
        while batch.items.len() < items
            && let Some(tenant) = self.turns.pop_front()
        {
            if chosen.len() >= tenants && !chosen.contains(&tenant) {
                passed_over.push_back(tenant);
                continue;
            }
            let room = items - batch.items.len();
            if self.take_turn(tenant, room.min(TURN), &mut batch) {
                chosen.insert(tenant);
            }
        }
        while let Some(tenant) = passed_over.pop_back() {
            self.turns.push_front(tenant);
        }
        // The other items of these topics cannot be taken before the topics are released.
        for topic in &batch.topics {
            if let Some(line) = self.lines.get(topic) {
                self.ready -= line.items.len();
            }
        }
        batch
    }

    /// Releases a topic, so that its items can be taken again.
    pub(super) fn release(&mut self, topic: Topic) {
        let Some(line) = self.lines.get_mut(&topic) else { return };
        line.taker = None;
        if line.items.is_empty() {
            if !line.listed {
                self.lines.remove(&topic);
            }
            return;
        }
        self.ready += line.items.len();
        self.list(topic);
    }

    /// Takes up to `count` items of one topic of the tenant. Returns whether there was one.
    fn take_turn(&mut self, tenant: Uuid, count: usize, batch: &mut Batch<T>) -> bool {
        let Some(topics) = self.tenants.get_mut(&tenant) else { return false };
        let mut gave = false;
        while let Some(id) = topics.pop_front() {
            let topic = Topic { tenant, id };
            let Some(line) = self.lines.get_mut(&topic) else { continue };
            line.listed = false;
            let ours = line.taker == Some(self.takes);
            if line.taker.is_some() && !ours {
                continue;
            }
            if line.items.is_empty() {
                self.lines.remove(&topic);
                continue;
            }
            let given = count.min(line.items.len());
            batch.items.extend(line.items.drain(..given));
            self.ready -= given;
            line.taker = Some(self.takes);
            if !ours {
                batch.topics.push(topic);
            }
            if !line.items.is_empty() {
                line.listed = true;
                topics.push_back(id);
            }
            gave = true;
            break;
        }
        if topics.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        gave
    }

    fn list(&mut self, topic: Topic) {
        let Some(line) = self.lines.get_mut(&topic) else { return };
        if std::mem::replace(&mut line.listed, true) {
            return;
        }
        let topics = self.tenants.entry(topic.tenant).or_default();
        if topics.is_empty() {
            self.turns.push_back(topic.tenant);
        }
        topics.push_back(topic.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(tenant: u128, id: u128) -> Topic {
        Topic { tenant: Uuid::from_u128(tenant), id: Uuid::from_u128(id) }
    }

    #[test]
    fn a_busy_tenant_leaves_room_for_others() {
        let mut queue = Queue::new();
        for item in 0..1_000 {
            queue.push(topic(1, 1), item);
        }
        queue.push(topic(2, 1), 5_000);
        let batch = queue.take(TURN + 1, 8);
        assert!(batch.items.contains(&5_000));
        assert_eq!(batch.topics, [topic(1, 1), topic(2, 1)]);
    }

    #[test]
    fn a_busy_topic_leaves_room_for_others_of_its_tenant() {
        let mut queue = Queue::new();
        for item in 0..1_000 {
            queue.push(topic(1, 1), item);
        }
        queue.push(topic(1, 2), 5_000);
        assert!(queue.take(TURN + 1, 8).items.contains(&5_000));
    }

    #[test]
    fn a_busy_topic_alone_fills_a_batch() {
        let mut queue = Queue::new();
        for item in 0..1_000 {
            queue.push(topic(1, 1), item);
        }
        assert_eq!(queue.take(256, 8).items, (0..256).collect::<Vec<_>>());
        assert_eq!(queue.ready(), 0, "nobody else may have the rest yet");
        queue.release(topic(1, 1));
        assert_eq!(queue.ready(), 744);
    }

    #[test]
    fn a_batch_has_so_many_tenants_at_most() {
        let mut queue = Queue::new();
        for tenant in 0..10 {
            queue.push(topic(tenant, 1), tenant);
        }
        assert_eq!(queue.take(100, 4).items, [0, 1, 2, 3]);
        assert_eq!(queue.take(100, 4).items, [4, 5, 6, 7]);
        assert_eq!(queue.take(100, 4).items, [8, 9]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u128, u128),
        Take(usize, usize),
        Release(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..3u128, 0..4u128).prop_map(|(tenant, id)| Step::Push(tenant, id)),
            2 => (1..40usize, 1..3usize).prop_map(|(items, tenants)| Step::Take(items, tenants)),
            2 => any::<prop::sample::Index>().prop_map(Step::Release),
        ]
    }

    proptest! {
        /// For any steps, no item is lost or given twice. A topic keeps its order and has one taker. In the end
        /// every item comes out.
        #[test]
        fn everything_comes_out_once_and_in_order(steps in prop::collection::vec(step(), 0..400)) {
            let mut queue = Queue::new();
            let mut pushed: HashMap<Topic, usize> = HashMap::new();
            let mut taken: HashMap<Topic, usize> = HashMap::new();
            let mut held: Vec<Topic> = Vec::new();
            let end = [Step::Take(usize::MAX, usize::MAX)];
            let mut check = |batch: Batch<(Topic, usize)>, held: &mut Vec<Topic>| {
                // The other items of these topics cannot be taken before the topics are released.
        for topic in &batch.topics {
                    assert!(!held.contains(topic));
                    held.push(*topic);
                }
                for (topic, number) in batch.items {
                    assert!(batch.topics.contains(&topic));
                    let expected = taken.entry(topic).or_default();
                    assert_eq!(number, *expected);
                    *expected += 1;
                }
                taken.values().sum::<usize>()
            };
            for step in steps.into_iter().chain(end) {
                match step {
                    Step::Push(tenant, id) => {
                        let number = pushed.entry(topic(tenant, id)).or_default();
                        queue.push(topic(tenant, id), (topic(tenant, id), *number));
                        *number += 1;
                    }
                    Step::Take(items, tenants) => {
                        check(queue.take(items, tenants), &mut held);
                    }
                    Step::Release(_) if held.is_empty() => {}
                    Step::Release(index) => {
                        let topic = held.swap_remove(index.index(held.len()));
                        queue.release(topic);
                    }
                }
            }
            for topic in held.drain(..) {
                queue.release(topic);
            }
            let total = check(queue.take(usize::MAX, usize::MAX), &mut held);
            prop_assert_eq!(total, pushed.values().sum::<usize>());
            prop_assert_eq!(queue.ready(), 0);
            for topic in held {
                queue.release(topic);
            }
            prop_assert!(queue.lines.is_empty() && queue.tenants.is_empty() && queue.turns.is_empty());
        }
    }
}
