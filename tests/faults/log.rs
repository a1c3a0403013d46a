//! The logs of clients: what they sent, and what they received.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crm_backend::pb::{self, MessageStatus};
use tonic::Code;

/// A message, as its client names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subject {
    pub(crate) conversation: Arc<str>,
    pub(crate) key: Arc<str>,
}

/// The request of a client. Pieces of text are not listed, because they have no answers of their
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Whole,
    Start,
    Finish,
    Abort,
}

/// A line of a client's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The request was sent.
    Invoke(Request),
    /// The request was acked.
    Ok(Ack),
    /// The request was refused, and so must have had no effect.
    Fail(Code),
    /// It is unknown whether the request had an effect.
    Unknown,
}

/// The content of an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    /// The request that it answers; `None` if it answers pieces of text.
    pub(crate) request: Option<Request>,
    pub(crate) sequence: i32,
    pub(crate) durable: i32,
    pub(crate) deduplicated: bool,
    pub(crate) status: MessageStatus,
}

/// One entry, of one stream of the client.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) stream: u32,
    pub(crate) subject: Subject,
    pub(crate) event: Event,
}

/// A message as its client intends it.
#[derive(Debug, Clone)]
pub(crate) struct Meant {
    /// Its final text, or its text so far.
    pub(crate) text: String,
    /// COMPLETED or INCOMPLETE; `None` while the client does not know.
    pub(crate) end: Option<MessageStatus>,
    /// Whether it was abandoned once and then continued.
    pub(crate) reopened: bool,
}

/// The log of one client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    pub(crate) meant: HashMap<Subject, Meant>,
    /// Forbidden observations, in words.
    pub(crate) faults: Vec<String>,
    /// Why the service did not report the outcome of requests, in its words, and how often.
    pub(crate) excuses: BTreeMap<String, usize>,
}

/// A message as it was read, or as an event had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) sequence: i32,
    pub(crate) key: String,
    pub(crate) status: MessageStatus,
    pub(crate) text: String,
}

/// An event of a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// A stream began, from the start or from where the last one ended. It has no event yet.
    Began,
    Added(Copy),
    Started(Copy),
    Delta {
        sequence: i32,
        offset: i32,
        text: String,
    },
    Snapshot {
        sequence: i32,
        text: String,
    },
    Finished(Copy),
    Aborted(Copy),
    Checkpoint(i32),
    /// The stream ended with an error that the contract does not allow.
    Refused(String),
}

/// The log of one watcher.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) conversation: Arc<str>,
    pub(crate) told: Vec<Told>,
}

impl Subject {
    /// Returns the subject of an answer.
    pub(crate) fn of(conversation_id: &str, message_key: &str) -> Self {
        Self { conversation: conversation_id.into(), key: message_key.into() }
    }
}

impl Meant {
    /// A message that is sent whole, and so is final from its beginning.
    pub(crate) fn whole(text: String) -> Self {
        Self { text, end: Some(MessageStatus::Completed), reopened: false }
    }
}

impl Event {
    /// Returns the ack of this request.
    pub(crate) fn acked(request: Option<Request>, ack: &pb::MessageAck) -> Self {
        Self::Ok(Ack {
            request,
            sequence: ack.sequence,
            durable: ack.durable_offset,
            deduplicated: ack.deduplicated,
            status: ack.status(),
        })
    }
}

impl From<pb::Message> for Copy {
    fn from(message: pb::Message) -> Self {
        Self {
            sequence: message.sequence,
            status: message.status(),
            key: message.message_key,
            text: message.content,
        }
    }
}
