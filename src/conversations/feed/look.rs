//! Looks at the database for events that no signal told.
//!
//! It looks once a second, or seldom while other replicas are heard. It looks at the conversations of all
//! tenants at once, which no tenant's transaction can do. Its own connection reads only numbers, and only of
//! conversations that are watched in this replica. So the cost depends on the watched conversations, and not on
//! the number of tenants.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Event, Feed, Mark};
use crate::conversations::messages::drafts::store::{self as drafts, Progress};
use crate::conversations::store::positions::{self, Position};
use crate::db::Target;
use crate::db::kept::Kept;
use crate::live::bus::Topic;

/// The time between two looks while other replicas are not heard: the longest delay of a watcher.
const OFTEN: Duration = Duration::from_secs(1);

/// The time between two looks while they are heard: the longest delay of a watcher when a signal is lost.
const SELDOM: Duration = Duration::from_secs(10);

/// The number of conversations in one statement. Postgres goes through arrays of this size in a few
/// milliseconds.
const AT_ONCE: usize = 1_000;

/// The limit of one statement. After it the look is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The position of a conversation that was not looked at yet. No sequence and no count of changes has this
/// value.
const UNKNOWN: i64 = -1;

/// The result of the looks so far. A watcher that comes later has read as much itself.
#[derive(Debug, Default)]
struct LookState {
    /// The position of each conversation: the last sequence, and the number of changes.
    positions: HashMap<Topic, (i64, i64)>,
    /// The committed text of its messages in progress, if there are any.
    durable: HashMap<Topic, Vec<Mark>>,
}

/// The result of one look.
#[derive(Debug)]
struct LookResult {
    /// The conversations that have moved.
    moved: Vec<Position>,
    /// All messages in progress.
    progress: Vec<Progress>,
}

/// Looks again and again, until `stop`.
pub(super) async fn run(feed: Feed, target: Target, stop: CancellationToken) {
    let mut interval = tokio::time::interval(OFTEN);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = Kept::new(target);
    let mut known = LookState::default();
    let mut looked: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let hears = feed.bus.hears();
        if hears && looked.is_some_and(|looked| looked.elapsed() < SELDOM) {
            continue;
        }
        looked = Some(Instant::now());
        let watched = known.forget_all_but(feed.hub.watched());
        for positions in watched.chunks(AT_ONCE) {
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = look(&mut connection, positions) => found,
            };
            match found {
                Ok(found) => known.learn(found, positions, |topic, event| feed.hub.tell(topic, || event)),
                Err(error) => {
                    tracing::debug!(error, "watched conversations could not be looked at");
                    looked = None;
                    break;
                }
            }
        }
    }
}

/// Returns the conversations that have moved, and how far their messages in progress have come.
async fn look(connection: &mut Kept, positions: &[Position]) -> Result<LookResult, String> {
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = positions.iter().map(|it| (it.tenant_id, it.id)).unzip();
    let found = connection.ask(PATIENCE, async |connection| {
        let moved = positions::list_moved(connection, positions).await?;
        Ok(LookResult { moved, progress: drafts::list_progress(connection, &tenants, &ids).await? })
    });
    found.await
}

impl LookState {
    /// Returns the last known positions of the watched conversations, in the order of tenants and ids. Forgets
    /// all others.
    fn forget_all_but(&mut self, mut watched: Vec<Topic>) -> Vec<Position> {
        watched.sort_unstable_by_key(|topic| (topic.tenant, topic.id));
        let mut before = std::mem::take(&mut self.positions);
        let mut durable = std::mem::take(&mut self.durable);
        let positions = watched.into_iter().map(|topic| {
            if let Some(marks) = durable.remove(&topic) {
                self.durable.insert(topic, marks);
            }
            let known = before.remove(&topic);
            if let Some(position) = known {
                self.positions.insert(topic, position);
            }
            let (last_sequence, change_count) = known.unwrap_or((UNKNOWN, UNKNOWN));
            Position { tenant_id: topic.tenant, id: topic.id, last_sequence, change_count }
        });
        positions.collect()
    }

    /// Tells which of these conversations have moved, and which of their messages in progress. Most have not
    /// moved, and no watcher is woken for them.
    fn learn(&mut self, found: LookResult, looked_at: &[Position], mut tell: impl FnMut(Topic, Event)) {
        let LookResult { moved, progress } = found;
        for Position { tenant_id, id, last_sequence, change_count } in moved {
            let topic = Topic { tenant: tenant_id, id };
            self.positions.insert(topic, (last_sequence, change_count));
            tell(topic, Event::Moved { sequence: last_sequence, change: change_count });
        }
        let mut durable: HashMap<Topic, Vec<Mark>> = HashMap::new();
        for Progress { tenant_id, conversation_id, sequence, since, holder, length } in progress {
            let mark = Mark { sequence, offset: length, since: Some(since), holder: Some(holder) };
            durable.entry(Topic { tenant: tenant_id, id: conversation_id }).or_default().push(mark);
        }
        if durable.is_empty() && self.durable.is_empty() {
            return;
        }
        for Position { tenant_id, id, .. } in looked_at {
            let topic = Topic { tenant: *tenant_id, id: *id };
            let before = self.durable.remove(&topic).unwrap_or_default();
            let Some(now) = durable.remove(&topic) else { continue };
            for mark in now.iter().filter(|mark| !before.contains(mark)) {
                tell(topic, Event::Durable(*mark));
            }
            self.durable.insert(topic, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: u128) -> Topic {
        Topic { tenant: Uuid::from_u128(100 - id), id: Uuid::from_u128(id) }
    }

    fn at(id: u128, last_sequence: i64, change_count: i64) -> Position {
        let Topic { tenant, id } = topic(id);
        Position { tenant_id: tenant, id, last_sequence, change_count }
    }

    fn progress(id: u128, length: i64) -> Progress {
        let Topic { tenant, id } = topic(id);
        let holder = Uuid::from_u128(7);
        Progress { tenant_id: tenant, conversation_id: id, sequence: 1, since: 0, holder, length }
    }

    /// Returns the events that are told after a look.
    fn told(known: &mut LookState, moved: Vec<Position>, progress: Vec<Progress>) -> Vec<String> {
        let watched = known.forget_all_but(vec![topic(1), topic(2)]);
        let mut told = Vec::new();
        known.learn(LookResult { moved, progress }, &watched, |Topic { id, .. }, event| {
            let id = id.as_u128();
            told.push(match event {
                Event::Moved { sequence, change } => format!("{id} moved to {sequence}, {change}"),
                Event::Durable(mark) => format!("{id} has {} bytes", mark.offset),
                other => panic!("no look tells {other:?}"),
            });
        });
        told
    }

    #[test]
    fn a_look_asks_in_the_order_of_the_index_from_where_the_last_one_was() {
        let mut known = LookState::default();
        let unknown = [at(2, UNKNOWN, UNKNOWN), at(1, UNKNOWN, UNKNOWN)];
        assert_eq!(known.forget_all_but(vec![topic(1), topic(2)]), unknown);
        assert_eq!(told(&mut known, vec![at(2, 5, 6)], Vec::new()), ["2 moved to 5, 6"]);
        assert_eq!(known.forget_all_but(vec![topic(1), topic(2)]), [at(2, 5, 6), at(1, UNKNOWN, UNKNOWN)]);
        // A conversation that is no longer watched is looked at from the beginning when it is watched again.
        assert_eq!(known.forget_all_but(vec![topic(1)]), [at(1, UNKNOWN, UNKNOWN)]);
        assert_eq!(known.forget_all_but(vec![topic(2)]), [at(2, UNKNOWN, UNKNOWN)]);
    }

    #[test]
    fn of_messages_in_progress_only_what_is_new_is_told() {
        let mut known = LookState::default();
        assert_eq!(told(&mut known, Vec::new(), vec![progress(1, 3)]), ["1 has 3 bytes"]);
        assert!(told(&mut known, Vec::new(), vec![progress(1, 3)]).is_empty());
        assert_eq!(told(&mut known, Vec::new(), vec![progress(2, 1), progress(1, 4)]).len(), 2);
        assert!(told(&mut known, Vec::new(), Vec::new()).is_empty());
        assert!(known.durable.is_empty(), "{known:?}");
    }
}
