//! The text of a message in progress, as its stream writes it and as watchers have seen it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::conversations::feed::Text as Shown;
use crate::conversations::messages::rules::{Placed, length};

/// The number of buffered deltas at which a text is stored.
const FLUSH_DELTAS: usize = 32;

/// The number of buffered bytes at which a text is stored.
pub(super) const FLUSH_BYTES: usize = 4 << 10;

/// A text is stored if nothing came for this long: the burst is over, and the client may wait for the ack.
pub(super) const FLUSH_QUIET: Duration = Duration::from_millis(40);

/// A text is stored after this long in any case. A model that writes 50 tokens a second fills a row with a
/// dozen of them. If the process is lost, the producer has to send this much again.
pub(super) const FLUSH_AFTER: Duration = Duration::from_millis(250);

/// The text of a message in progress, as this stream writes it.
#[derive(Debug)]
pub(super) struct Text {
    /// The id under which the stream holds the message. It is the stream's own id, or another one since a
    /// restart. So nothing of the new text is stored if the restart was lost.
    pub(super) holder: Uuid,
    /// The number of starts that are not decided. Until they are, the end of the text is unknown.
    pub(super) starts: usize,
    /// The message, once this stream may write it.
    pub(super) message: Option<Held>,
    /// The end of the text that this stream has sent; `None` before the first text, and after some was lost.
    pub(super) end: Option<i64>,
    /// The number of bytes of it that are known to be stored.
    pub(super) durable: i64,
    /// The text that watchers were shown; `None` after some was lost.
    pub(super) shown: Option<Seen>,
    /// The text that is not stored.
    pub(super) buffer: Buffer,
    /// How often the client was sent back to an earlier point.
    pub(super) rewinds: u32,
}

/// A message that this stream may write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) id: Uuid,
    pub(super) sequence: i64,
    /// The number of the change that put it in progress; 0 if it is in progress since it was added.
    pub(super) since: i64,
}

/// Text that watchers were shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// The message as it was then. Text from before a restart says nothing about the text after it, even if the
    /// outcome of the restart was never known.
    pub(super) message: Held,
    pub(super) holder: Uuid,
    pub(super) end: i64,
}

/// Pieces that are stored together.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) offset: i64,
    pub(super) text: String,
    pub(super) deltas: usize,
    pub(super) bytes: usize,
    pub(super) since: Option<(Instant, Instant)>,
    /// Whether it begins with text that was sent before. The text after it is not shown until it is known that
    /// it continues the same text.
    pub(super) again: bool,
}

impl Buffer {
    /// Adds a piece that begins within the text or directly after it. Returns false if the piece differs from
    /// the text where they overlap, or if it begins elsewhere.
    pub(super) fn join(&mut self, offset: i64, piece: &str) -> bool {
        let at = offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let Some(known) = at.and_then(|at| self.text.as_bytes().get(at..)) else { return false };
        if known.starts_with(piece.as_bytes()) {
            return true;
        }
        let fresh = piece.as_bytes().starts_with(known).then(|| piece.get(known.len()..)).flatten();
        fresh.is_some_and(|fresh| {
            self.text.push_str(fresh);
            true
        })
    }

    pub(super) fn end(&self) -> i64 {
        self.offset.saturating_add(length(&self.text))
    }

    /// Returns when it must be stored.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, last) = self.since?;
        Some((last + FLUSH_QUIET).min(first + FLUSH_AFTER))
    }

    pub(super) fn is_full(&self) -> bool {
        self.deltas >= FLUSH_DELTAS || self.text.len() >= FLUSH_BYTES
    }
}

impl Held {
    pub(super) fn of(placed: &Placed) -> Self {
        Self { id: placed.id, sequence: placed.sequence, since: placed.since }
    }
}

impl Text {
    pub(super) fn new(holder: Uuid) -> Self {
        Self {
            holder,
            starts: 0,
            message: None,
            end: None,
            durable: 0,
            shown: None,
            buffer: Buffer::default(),
            rewinds: 0,
        }
    }

    /// Notes that watchers were told of the stored text, beyond what they had seen of it.
    pub(super) fn see(&mut self, placed: &Placed, seen: Option<Seen>) {
        let message = Held::of(placed);
        let seen = seen.filter(|seen| seen.message.since == message.since).map_or(0, |seen| seen.end);
        self.shown = Some(Seen { message, holder: self.holder, end: seen.max(placed.durable_offset) });
    }

    /// Returns the end of the text that this stream knows.
    pub(super) fn end(&self) -> Option<i64> {
        self.end.map(|end| end.max(self.durable))
    }

    /// Returns the text that watchers have not seen, if it follows directly on the text that they have. They have seen
    /// it then.
    pub(super) fn show(&mut self) -> Option<Shown> {
        let Held { id, sequence, since } = self.message?;
        let seen = self.shown.filter(|seen| seen.message.since == since)?;
        let offset = seen.end;
        let known = offset.checked_sub(self.buffer.offset).and_then(|known| usize::try_from(known).ok());
        let fresh = known.filter(|_| !self.buffer.again).and_then(|known| self.buffer.text.get(known..));
        let fresh = fresh.filter(|fresh| !fresh.is_empty())?;
        let (text, holder) = (Arc::from(fresh), Some(self.holder));
        let shown = Shown { message_id: id, sequence, offset, text, since: Some(since), holder };
        self.shown = Some(Seen { end: self.buffer.end(), ..seen });
        Some(shown)
    }
}
