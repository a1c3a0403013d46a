//! The events of conversations. Watchers of this replica are told at once, other replicas over the bus. A look
//! at the database finds what the bus lost.

mod look;

use std::sync::Arc;

use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::db::Target;
use crate::identity::Caller;
use crate::live::bus::{Bus, Signal, Topic};
use crate::live::hub::{self, Hub, Subscription};
use crate::pb;

/// An event of a conversation.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A message was added, whole or in progress.
    Added(Arc<pb::Message>),
    /// A message in progress was closed, by this change.
    Closed { change: i64, message: Arc<pb::Message> },
    /// A message in progress has more text. It may not be committed yet.
    Text(Text),
    /// The text of a message in progress is committed up to this offset.
    Durable(Mark),
    /// Another stream goes on with a message in progress after this offset. Text that was told beyond it is
    /// void.
    Held(Mark),
    /// A stream no longer knows whether its text beyond this offset is committed.
    Lost(Mark),
    /// A message in progress restarts: all text that was told of it is void.
    Restarted(Mark),
    /// The conversation has come at least this far.
    Moved { sequence: i64, change: i64 },
    /// The conversation, or something that belongs to it, changed.
    Changed,
}

impl hub::Event for Event {
    fn bytes(&self) -> usize {
        match self {
            Self::Added(message) | Self::Closed { change: _, message } => message.encoded_len(),
            Self::Text(text) => text.text.len(),
            Self::Durable(_)
            | Self::Held(_)
            | Self::Lost(_)
            | Self::Restarted(_)
            | Self::Moved { .. }
            | Self::Changed => 0,
        }
    }

    fn hint(self) -> Option<Self> {
        match self {
            Self::Added(message) => Some(Self::Moved { sequence: message.sequence.into(), change: 0 }),
            Self::Closed { change, message: _ } => Some(Self::Moved { sequence: 0, change }),
            // It is told when it is stored: `Durable` says so.
            Self::Text(_) => None,
            Self::Durable(_)
            | Self::Held(_)
            | Self::Lost(_)
            | Self::Restarted(_)
            | Self::Moved { .. }
            | Self::Changed => Some(self),
        }
    }
}

/// A piece of the text of a message in progress.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text {
    pub(crate) message_id: Uuid,
    pub(crate) sequence: i64,
    pub(crate) offset: i64,
    pub(crate) text: Arc<str>,
    /// The number of the change that put the message in progress, so that this text is not taken for text from
    /// before a restart. `None` from a replica of an older version.
    pub(crate) since: Option<i64>,
    /// The id of the stream that wrote it, so that it is not taken for the text of another stream. `None` from
    /// a replica of an older version.
    pub(crate) holder: Option<Uuid>,
}

/// A point in the text of a message in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) sequence: i64,
    pub(crate) offset: i64,
    /// The number of the change that put the message in progress. `None` from a replica of an older version.
    pub(crate) since: Option<i64>,
    /// The id of the stream that writes the message. `None` from a replica of an older version.
    pub(crate) holder: Option<Uuid>,
}

/// The place where events are told and watched.
#[derive(Clone)]
pub(crate) struct Feed {
    hub: Arc<Hub<Event>>,
    bus: Arc<dyn Bus>,
}

impl Feed {
    pub(crate) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { hub: Hub::new(), bus }
    }

    /// Watches a conversation of the caller's tenant: all events from now on.
    pub(crate) fn watch(&self, caller: &Caller, conversation_id: Uuid) -> Subscription<Event> {
        self.hub.watch(Topic::of(caller, conversation_id))
    }

    /// Returns the number of events that wait for the slowest watcher of any conversation.
    pub(crate) fn lag(&self) -> usize {
        self.hub.lag()
    }

    /// Tells the watchers of this replica.
    pub(crate) fn tell_here(&self, topic: Topic, event: impl FnOnce() -> Event) {
        self.hub.tell(topic, event);
    }

    /// Tells the watchers of other replicas.
    pub(crate) fn tell_others(&self, topic: Topic, event: &Event) {
        if let Some(wire) = Wire::of(event) {
            self.bus.publish(Signal { topic, payload: wire.encode_to_vec().into() });
        }
    }

    /// Tells all watchers, of every replica, that the conversation or something that belongs to it changed.
    pub(crate) fn changed(&self, caller: &Caller, conversation_id: Uuid) {
        let topic = Topic::of(caller, conversation_id);
        self.tell_others(topic, &Event::Changed);
        self.hub.tell(topic, || Event::Changed);
    }

    /// Passes on the signals of other replicas, until the channel of signals is closed.
    pub(crate) async fn hear(self, mut signals: mpsc::Receiver<Signal>) {
        while let Some(Signal { topic, payload }) = signals.recv().await {
            match Wire::decode(payload).ok().and_then(Wire::into_event) {
                Some(event) => self.hub.tell(topic, || event),
                None => tracing::debug!("a signal of another version is not understood"),
            }
        }
    }

    /// Looks at the database for events that no signal told, until `stop`.
    pub(crate) async fn look(self, target: Target, stop: CancellationToken) {
        look::run(self, target, stop).await;
    }
}

/// An event as replicas send it to each other. Replicas of neighbouring versions exchange it, so fields are
/// only ever added. It does not carry messages: the watchers read them.
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
    /// Empty from replicas that do not know the field.
    #[prost(bytes = "vec", tag = "6")]
    holder: Vec<u8>,
    /// Unset from replicas that do not know the field.
    #[prost(int64, optional, tag = "7")]
    since: Option<i64>,
}

impl Wire {
    const MOVED: i32 = 1;
    const TEXT: i32 = 2;
    const DURABLE: i32 = 3;
    const HELD: i32 = 4;
    const CHANGED: i32 = 5;
    const LOST: i32 = 6;

    fn of(event: &Event) -> Option<Self> {
        let bytes = |holder: &Option<Uuid>| holder.map_or_else(Vec::new, |holder| holder.as_bytes().to_vec());
        let mark = |kind, Mark { sequence, offset, since, holder }: &Mark| {
            let (sequence, position, since, holder) = (*sequence, *offset, *since, bytes(holder));
            Some(Self { kind, sequence, position, since, holder, ..Self::default() })
        };
        match event {
            // A change of the conversation is told by another event, and the watchers read the message.
            Event::Added(_) | Event::Closed { .. } | Event::Restarted(_) => None,
            Event::Text(Text { message_id, sequence, offset, text, since, holder }) => Some(Self {
                kind: Self::TEXT,
                sequence: *sequence,
                position: *offset,
                message_id: message_id.as_bytes().to_vec(),
                text: text.to_string(),
                since: *since,
                holder: bytes(holder),
            }),
            Event::Durable(point) => mark(Self::DURABLE, point),
            Event::Held(point) => mark(Self::HELD, point),
            Event::Lost(point) => mark(Self::LOST, point),
            Event::Moved { sequence, change } => {
                Some(Self { kind: Self::MOVED, sequence: *sequence, position: *change, ..Self::default() })
            }
            Event::Changed => Some(Self { kind: Self::CHANGED, ..Self::default() }),
        }
    }

    fn into_event(self) -> Option<Event> {
        let Self { kind, sequence, position, message_id, text, holder, since } = self;
        let holder = Uuid::from_slice(&holder).ok();
        let mark = Mark { sequence, offset: position, since, holder };
        match kind {
            Self::MOVED => Some(Event::Moved { sequence, change: position }),
            Self::DURABLE => Some(Event::Durable(mark)),
            Self::HELD => Some(Event::Held(mark)),
            Self::LOST => Some(Event::Lost(mark)),
            Self::CHANGED => Some(Event::Changed),
            Self::TEXT => {
                let message_id = Uuid::from_slice(&message_id).ok()?;
                let text = text.into();
                Some(Event::Text(Text { message_id, sequence, offset: position, text, since, holder }))
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
        let since = Some(0);
        let (message_id, text) = (Uuid::from_u128(1), "a".into());
        let text = Text { message_id, sequence: 2, offset: 3, text, since, holder };
        assert!(matches!(told(&Event::Text(text.clone())), Some(Event::Text(heard)) if heard == text));
        let mark = Mark { sequence: 2, offset: 3, since: Some(4), holder };
        assert!(matches!(told(&Event::Lost(mark)), Some(Event::Lost(heard)) if heard == mark));
        assert!(matches!(told(&Event::Held(mark)), Some(Event::Held(heard)) if heard == mark));
        assert!(matches!(told(&Event::Durable(mark)), Some(Event::Durable(heard)) if heard == mark));
    }

    #[test]
    fn a_replica_of_the_version_before_does_not_say_whose_text_it_is() {
        let wire = Wire { kind: Wire::HELD, sequence: 2, position: 3, ..Wire::default() };
        let held = Wire::decode(wire.encode_to_vec().as_slice()).ok().and_then(Wire::into_event);
        let mark = Mark { sequence: 2, offset: 3, since: None, holder: None };
        assert!(matches!(held, Some(Event::Held(heard)) if heard == mark), "{held:?}");
    }
}
