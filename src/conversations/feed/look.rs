//! Looks at the database for what nobody told.
//!
//! Once a second, or seldom while other replicas are heard. It looks at the conversations of all tenants at once, which
//! no tenant's transaction can, on a connection of its own that reads numbers and nothing else, and only of
//! conversations that somebody watches here. So it costs what is watched, and not the number of tenants.

use std::collections::{HashMap, HashSet};
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

/// The time between two looks while other replicas are not heard: the longest that a watcher is late.
const OFTEN: Duration = Duration::from_secs(1);

/// The same while they are heard: the longest that a watcher is late when a signal is lost.
const SELDOM: Duration = Duration::from_secs(10);

/// Conversations of one statement: arrays that Postgres goes through in a few milliseconds.
const AT_ONCE: usize = 1_000;

/// How long a statement may take before the look is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a look found of a conversation.
#[derive(Debug)]
struct Seen {
    /// The last sequence and the number of changes.
    position: (i64, i64),
    /// How far its messages in progress have come.
    durable: Vec<Mark>,
}

/// Looks again and again, until `stop`.
pub(super) async fn run(feed: Feed, target: Target, stop: CancellationToken) {
    let mut interval = tokio::time::interval(OFTEN);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = Kept::new(target);
    // What the last look found. A watcher that comes after it has read as much itself.
    let mut known: HashMap<Topic, Seen> = HashMap::new();
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
        let watched = feed.hub.watched();
        let is_watched: HashSet<&Topic> = watched.iter().collect();
        known.retain(|topic, _| is_watched.contains(topic));
        looked = Some(Instant::now());
        for topics in watched.chunks(AT_ONCE) {
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = look(&mut connection, topics) => found,
            };
            match found {
                Ok(found) => tell(&feed, found, &mut known),
                Err(error) => {
                    tracing::debug!(error, "watched conversations could not be looked at");
                    looked = None;
                    break;
                }
            }
        }
    }
}

/// How far conversations have come, and their messages in progress.
async fn look(connection: &mut Kept, topics: &[Topic]) -> Result<Vec<(Topic, Seen)>, String> {
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = topics.iter().map(|topic| (topic.tenant, topic.id)).unzip();
    let found = connection.ask(PATIENCE, async |connection| {
        let positions = positions::list(connection, &tenants, &ids).await?;
        Ok((positions, drafts::list_progress(connection, &tenants, &ids).await?))
    });
    let (positions, progress) = found.await?;
    let mut durable: HashMap<Topic, Vec<Mark>> = HashMap::new();
    for Progress { tenant_id, conversation_id, sequence, since, holder, length } in progress {
        let mark = Mark { sequence, offset: length, since: Some(since), holder: Some(holder) };
        durable.entry(Topic { tenant: tenant_id, id: conversation_id }).or_default().push(mark);
    }
    let seen = |Position { tenant_id, id, last_sequence, change_count }: Position| {
        let topic = Topic { tenant: tenant_id, id };
        let durable = durable.remove(&topic).unwrap_or_default();
        (topic, Seen { position: (last_sequence, change_count), durable })
    };
    Ok(positions.into_iter().map(seen).collect())
}

/// Tells which conversations have moved, and which of their messages in progress. Most have not, and nobody is woken
/// for them.
fn tell(feed: &Feed, found: Vec<(Topic, Seen)>, known: &mut HashMap<Topic, Seen>) {
    for (topic, now) in found {
        let before = known.get(&topic);
        if before.is_none_or(|before| before.position != now.position) {
            let (sequence, change) = now.position;
            feed.hub.tell(topic, || Event::Moved { sequence, change });
        }
        let is_new = |mark: &&Mark| before.is_none_or(|before| !before.durable.contains(*mark));
        for mark in now.durable.iter().filter(is_new) {
            feed.hub.tell(topic, || Event::Durable(*mark));
        }
        known.insert(topic, now);
    }
}
