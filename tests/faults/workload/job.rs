//! One message that a producer must add, and its progress.

use crm_backend::pb;
use crm_backend::pb::add_message_request::Command;
use crm_testkit::Random;

use crate::log::{Request, Subject};

/// The maximum number of characters of one piece: about what a model writes at once.
const PIECE: usize = 12;

/// How a job's message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole.
    Whole,
    /// Whole, although it was acked before.
    Again,
    /// In pieces.
    Pieces {
        /// The number of bytes after which it is abandoned.
        aborts: Option<usize>,
        /// Whether it is continued after that.
        reopens: bool,
    },
}

/// What the current stream was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To say how much of the text is stored.
    Idle,
    /// To store the text up to this byte.
    Resuming,
    /// To end the message.
    Writing(usize),
    /// All.
    Ending,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) subject: Subject,
    pub(super) text: String,
    pub(super) kind: Kind,
    pub(super) stage: Stage,
    /// How much of the text the current stream has, or had when it was asked to end it.
    pub(super) written: usize,
    /// Whether a stream was asked to start it.
    pub(super) started: bool,
    /// Whether an earlier stream was, whose last requests may still be in progress.
    pub(super) resumed: bool,
    /// Whether the start from an earlier stream may still be carried out, and take the message away
    /// from this stream. The service carries out what it received on a lost connection.
    pub(super) haunted: bool,
    /// Whether a stream was asked to abort it.
    pub(super) aborted: bool,
}

impl Job {
    pub(super) fn new(subject: Subject, text: String, kind: Kind) -> Self {
        Self {
            subject,
            text,
            kind,
            stage: Stage::Idle,
            written: 0,
            started: false,
            resumed: false,
            haunted: false,
            aborted: false,
        }
    }

    /// The outcome of the ended stream's requests is unknown.
    pub(super) fn lose_stream(&mut self) {
        self.stage = Stage::Idle;
    }

    /// Whether a request can be sent before the next answer.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Idle | Stage::Writing(_))
    }

    /// Returns the next request, and what of it gets an answer of its own.
    pub(super) fn next(&mut self, producer: &str, random: &mut Random) -> (Command, Option<Request>) {
        let message_key = self.subject.key.to_string();
        let Kind::Pieces { aborts, .. } = self.kind else {
            self.stage = Stage::Ending;
            return (self.whole(), Some(Request::Whole));
        };
        let Stage::Writing(offset) = self.stage else {
            self.stage = if self.started { Stage::Resuming } else { Stage::Writing(0) };
            self.resumed = self.started;
            self.started = true;
            return (self.start(producer), Some(Request::Start));
        };
        // A late start would reopen it when no stream is left to end it.
        if aborts.is_some_and(|limit| offset >= limit) && !self.haunted {
            self.stage = Stage::Ending;
            self.aborted = true;
            return (Command::Abort(pb::MessageAbort { message_key }), Some(Request::Abort));
        }
        if offset == self.text.len() {
            self.stage = Stage::Ending;
            let length = i32::try_from(self.text.len()).expect("a length");
            let finish = pb::MessageFinish { message_key, length, ..Default::default() };
            return (Command::Finish(finish), Some(Request::Finish));
        }
        (self.piece(offset, random), None)
    }

    fn whole(&self) -> Command {
        Command::Message(pb::Message {
            message_key: self.subject.key.to_string(),
            role: pb::MessageRole::User.into(),
            content: self.text.clone(),
            ..Default::default()
        })
    }

    fn start(&self, producer: &str) -> Command {
        Command::Start(pb::MessageStart {
            message_key: self.subject.key.to_string(),
            role: pb::MessageRole::Assistant.into(),
            producer_id: producer.to_owned(),
            ..Default::default()
        })
    }

    /// Returns the next piece, which sometimes repeats the end of what was sent before.
    fn piece(&mut self, offset: usize, random: &mut Random) -> Command {
        let from = if random.once_in(6) { self.boundary(offset.saturating_sub(PIECE)) } else { offset };
        let count = random.within(1..PIECE);
        let rest = &self.text[offset..];
        let end = rest.char_indices().nth(count).map_or(self.text.len(), |(place, _)| offset + place);
        self.stage = Stage::Writing(end);
        self.written = end;
        Command::Delta(pb::MessageDelta {
            message_key: self.subject.key.to_string(),
            offset: i32::try_from(from).expect("an offset"),
            text: self.text[from..end].to_owned(),
        })
    }

    /// Returns the first beginning of a character from there on.
    pub(super) fn boundary(&self, from: usize) -> usize {
        (from..).find(|place| self.text.is_char_boundary(*place)).expect("the end is one")
    }
}
