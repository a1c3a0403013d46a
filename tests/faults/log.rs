//! What clients wrote down: of what they sent, and of what they were told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crm_backend::pb::{self, MessageStatus};
use tonic::Code;

/// A message as its client names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Subject {
    pub(crate) conversation: Arc<str>,
    pub(crate) key: Arc<str>,
}

/// What a client asked for. Pieces of text are not here, because they have no answers of their own.
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
    /// It was sent.
    Invoke(Request),
    /// It was acked.
    Ok(Ack),
    /// It was refused, and so must have had no effect.
    Fail(Code),
    /// Nobody told whether it happened.
    Unknown,
}

/// What an ack said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    /// What it answers; none where it answers pieces of text.
    pub(crate) request: Option<Request>,
    pub(crate) sequence: i32,
    pub(crate) durable: i32,
    pub(crate) deduplicated: bool,
    pub(crate) status: MessageStatus,
}

/// One line, of one stream of the client.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) stream: u32,
    pub(crate) subject: Subject,
    pub(crate) event: Event,
}

/// What a client meant a message to be.
#[derive(Debug, Clone)]
pub(crate) struct Meant {
    /// Its text when it ended, or, without an end, so far.
    pub(crate) text: String,
    /// COMPLETED or INCOMPLETE; nothing while the client does not know.
    pub(crate) end: Option<MessageStatus>,
    /// It was given up once, and gone on with.
    pub(crate) reopened: bool,
}

/// The log of one client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    pub(crate) meant: HashMap<Subject, Meant>,
    /// What it saw that no client may see, in words.
    pub(crate) faults: Vec<String>,
    /// Why the service did not answer for what became of requests, in its words, and how often.
    pub(crate) excuses: BTreeMap<String, usize>,
}

/// A message as it was read or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) sequence: i32,
    pub(crate) key: String,
    pub(crate) status: MessageStatus,
    pub(crate) text: String,
}

/// Something that a watcher was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing yet: a stream began, from the start or from where the last one ended.
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
    /// The stream ended with an error that the contract does not have for it.
    Refused(String),
}

/// The log of one watcher.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) conversation: Arc<str>,
    pub(crate) told: Vec<Told>,
}

impl Subject {
    /// What an answer is about.
    pub(crate) fn of(conversation_id: &str, message_key: &str) -> Self {
        Self { conversation: conversation_id.into(), key: message_key.into() }
    }
}

impl Meant {
    /// A message that comes whole, and so ends as it begins.
    pub(crate) fn whole(text: String) -> Self {
        Self { text, end: Some(MessageStatus::Completed), reopened: false }
    }
}

impl Event {
    /// An ack, as the answer to this request.
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
