//! What happens in conversations, told to those who watch them: here at once, in other replicas over
//! the bus, and by a look at the database where that got lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::store::{self, Head};
use crate::auth::Caller;
use crate::db::{Db, Deadline, TenantTx};
use crate::error::Result;
use crate::live::bus::{Bus, Signal, Topic};
use crate::live::hub::{Hub, Subscription};
use crate::pb;

/// How often the database is looked at for what nobody told: the longest that a watcher may be late
/// when a signal is lost.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Conversations of one look: an array that Postgres goes through in about a millisecond.
const LOOK_AT: usize = 1_000;

/// How long a look may take before the next one is tried.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// Looks at once: a tenant that waits does not keep the others waiting, and most connections are left to
/// calls.
const LOOKS: usize = 4;

/// Something that happened in a conversation.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A message was added, whole or in progress.
    Added(Arc<pb::Message>),
    /// A message in progress was closed, by this change.
    Closed { change: i64, message: Arc<pb::Message> },
    /// A message in progress has more text. It may not be committed yet.
    Text(Text),
    /// So many bytes of a message in progress are committed.
    Durable(Mark),
    /// Another stream goes on with a message in progress after so many bytes: what was told beyond is
    /// void.
    Held(Mark),
    /// The conversation has come so far, at least.
    Moved { sequence: i64, change: i64 },
    /// The conversation, or something that belongs to it, changed.
    Changed,
}

/// A piece of a message in progress.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    pub(crate) message_id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) offset: i64,
    pub(crate) text: Arc<str>,
    /// The stream that wrote it, so that it is not taken for the text of one before or after; a replica
    /// of the version before does not say.
    pub(crate) holder: Option<Uuid>,
}

/// A point in the text of a message in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) sequence: i64,
    pub(crate) offset: i64,
    /// The stream that writes the message; a replica of the version before does not say.
    pub(crate) holder: Option<Uuid>,
}

/// Where things are told.
#[derive(Clone)]
pub(crate) struct Feed {
    hub: Arc<Hub<Event>>,
    bus: Arc<dyn Bus>,
}

impl Feed {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { hub: Hub::new(), bus }
    }

    /// From here on, all that happens in a conversation of the caller's tenant.
    pub(crate) fn watch(&self, caller: &Caller, conversation_id: Uuid) -> Subscription<Event> {
        self.hub.watch(caller, Topic::of(caller, conversation_id))
    }

    /// Tells those who watch it here.
    pub(crate) fn tell_here(&self, topic: Topic, event: impl FnOnce() -> Event) {
        self.hub.tell(topic, event);
    }

    /// Tells those who watch it through other replicas.
    pub(crate) fn tell_others(&self, topic: Topic, event: &Event) {
        if let Some(wire) = Wire::of(event) {
            self.bus.publish(Signal { topic, payload: wire.encode_to_vec().into() });
        }
    }

    /// Tells everybody that a conversation changed, or something that belongs to it.
    pub(crate) fn changed(&self, caller: &Caller, conversation_id: Uuid) {
        let topic = Topic::of(caller, conversation_id);
        self.tell_others(topic, &Event::Changed);
        self.hub.tell(topic, || Event::Changed);
    }

    /// Passes on what other replicas tell, until they are not heard any more.
    pub(crate) async fn hear(self, mut signals: mpsc::Receiver<Signal>) {
        while let Some(Signal { topic, payload }) = signals.recv().await {
            match Wire::decode(payload).ok().and_then(Wire::into_event) {
                Some(event) => self.hub.tell(topic, || event),
                None => tracing::debug!("a signal of another version is not understood"),
            }
        }
    }

    /// Looks at the conversations that are watched, once a second, until `stop`.
    pub(crate) async fn look(self, db: Db, stop: CancellationToken) {
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What the last look found. A watcher that comes after it has read as much itself.
        let mut known: HashMap<Topic, Head> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = interval.tick() => {}
            }
            let mut watched = self.hub.watched();
            watched.sort_unstable_by_key(|(topic, _)| key(topic));
            known.retain(|topic, _| watched.binary_search_by_key(&key(topic), |(one, _)| key(one)).is_ok());
            self.look_at_all(&db, &watched, &mut known).await;
        }
    }

    /// Looks at conversations that are in the order of their tenants, at some tenants at once, and tells
    /// which have moved. Most have not, and nobody is woken for them.
    async fn look_at_all(&self, db: &Db, watched: &[(Topic, Caller)], known: &mut HashMap<Topic, Head>) {
        let tenants = watched.chunk_by(|(one, _), (other, _)| one.tenant == other.tenant);
        let looks: Vec<_> =
            tenants.flat_map(|tenant| tenant.chunks(LOOK_AT)).map(|some| look_at(db, some)).collect();
        let mut outcomes = stream::iter(looks).buffer_unordered(LOOKS);
        while let Some(outcome) = outcomes.next().await {
            let heads = match outcome {
                Ok(heads) => heads,
                Err(error) => {
                    tracing::debug!(%error, "watched conversations could not be looked at");
                    // The others would wait as long, one after the other.
                    if error.ends_connection() {
                        return;
                    }
                    continue;
                }
            };
            for (topic, head) in heads {
                if known.insert(topic, head) != Some(head) {
                    let Head { last_sequence: sequence, change_count: change, .. } = head;
                    self.hub.tell(topic, || Event::Moved { sequence, change });
                }
            }
        }
    }
}

/// How far some conversations of one tenant have come.
async fn look_at(db: &Db, watched: &[(Topic, Caller)]) -> Result<Vec<(Topic, Head)>> {
    let Some((Topic { tenant, .. }, caller)) = watched.first() else { return Ok(Vec::new()) };
    let ids: Vec<_> = watched.iter().map(|(topic, _)| topic.id).collect();
    let deadline = Deadline::after(LOOK_DEADLINE);
    let heads = db.read(caller, deadline, async |tx: &TenantTx| store::list_heads(tx, &ids).await).await?;
    Ok(heads.into_iter().map(|head| (Topic { tenant: *tenant, id: head.id }, head)).collect())
}

/// The order in which conversations are looked at.
fn key(topic: &Topic) -> (Uuid, Uuid) {
    (topic.tenant, topic.id)
}

/// An event as replicas tell it to each other. Replicas of neighbouring versions do, so fields are
/// only ever added. Messages themselves are not told: whoever watches reads them.
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    /// One of the kinds below.
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(int64, tag = "2")]
    sequence: i64,
    /// A change, or an offset.
    #[prost(int64, tag = "3")]
    position: i64,
    #[prost(bytes = "vec", tag = "4")]
    message_id: Vec<u8>,
    #[prost(string, tag = "5")]
    text: String,
    /// Empty from replicas that do not know of it.
    #[prost(bytes = "vec", tag = "6")]
    holder: Vec<u8>,
}

impl Wire {
    const MOVED: i32 = 1;
    const TEXT: i32 = 2;
    const DURABLE: i32 = 3;
    const HELD: i32 = 4;
    const CHANGED: i32 = 5;

    fn of(event: &Event) -> Option<Self> {
        let bytes = |holder: &Option<Uuid>| holder.map_or_else(Vec::new, |holder| holder.as_bytes().to_vec());
        let mark = |kind, Mark { sequence, offset, holder }: &Mark| {
            let (sequence, position, holder) = (*sequence, *offset, bytes(holder));
            Some(Self { kind, sequence, position, holder, ..Self::default() })
        };
        match event {
            Event::Added(_) | Event::Closed { .. } => None,
            Event::Text(Text { message_id, sequence, offset, text, holder }) => Some(Self {
                kind: Self::TEXT,
                sequence: *sequence,
                position: *offset,
                message_id: message_id.as_bytes().to_vec(),
                text: text.to_string(),
                holder: bytes(holder),
            }),
            Event::Durable(point) => mark(Self::DURABLE, point),
            Event::Held(point) => mark(Self::HELD, point),
            Event::Moved { sequence, change } => {
                Some(Self { kind: Self::MOVED, sequence: *sequence, position: *change, ..Self::default() })
            }
            Event::Changed => Some(Self { kind: Self::CHANGED, ..Self::default() }),
        }
    }

    fn into_event(self) -> Option<Event> {
        let Self { kind, sequence, position, message_id, text, holder } = self;
        let holder = Uuid::from_slice(&holder).ok();
        let mark = Mark { sequence, offset: position, holder };
        match kind {
            Self::MOVED => Some(Event::Moved { sequence, change: position }),
            Self::DURABLE => Some(Event::Durable(mark)),
            Self::HELD => Some(Event::Held(mark)),
            Self::CHANGED => Some(Event::Changed),
            Self::TEXT => {
                let message_id = Uuid::from_slice(&message_id).ok()?;
                let text = text.into();
                Some(Event::Text(Text { message_id, sequence, offset: position, text, holder }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event: &Event) -> Option<Event> {
        Wire::decode(Wire::of(event)?.encode_to_vec().as_slice()).ok()?.into_event()
    }

    #[test]
    fn replicas_say_whose_text_it_is() {
        let holder = Some(Uuid::from_u128(7));
        let text = Text { message_id: Uuid::from_u128(1), sequence: 2, offset: 3, text: "a".into(), holder };
        assert!(matches!(told(&Event::Text(text.clone())), Some(Event::Text(heard)) if heard == text));
        let mark = Mark { sequence: 2, offset: 3, holder };
        assert!(matches!(told(&Event::Held(mark)), Some(Event::Held(heard)) if heard == mark));
        assert!(matches!(told(&Event::Durable(mark)), Some(Event::Durable(heard)) if heard == mark));
    }

    #[test]
    fn a_replica_of_the_version_before_does_not_say_whose_text_it_is() {
        let wire = Wire { kind: Wire::HELD, sequence: 2, position: 3, ..Wire::default() };
        let held = Wire::decode(wire.encode_to_vec().as_slice()).ok().and_then(Wire::into_event);
        let mark = Mark { sequence: 2, offset: 3, holder: None };
        assert!(matches!(held, Some(Event::Held(heard)) if heard == mark), "{held:?}");
    }
}
