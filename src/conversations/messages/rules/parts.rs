//! The known parts of a message's text. They tell whether text that is sent again is the same.

use std::borrow::Cow;
use std::collections::HashMap;

use uuid::Uuid;

use super::{Change, Write, length};
use crate::conversations::messages::store::StoredMessage;
use crate::numbers;

/// The bytes of a text that must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) message_id: Uuid,
    /// The offset of the first byte.
    pub(crate) offset: i64,
    pub(crate) length: i64,
}

/// Stored bytes of a text. They may begin and end within a character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) message_id: Uuid,
    pub(crate) offset: i64,
    pub(crate) text: Vec<u8>,
}

/// Returns the stored spans that writes send again. They must be read to tell whether the text is the same.
/// They are no longer than the text of the writes.
pub(crate) fn said_again(writes: &[&Write], known: &[StoredMessage]) -> Vec<Span> {
    let said = writes.iter().filter_map(|write| match &write.change {
        Change::Extend { offset, text, .. } if !text.is_empty() => Some((*write, *offset, text)),
        _ => None,
    });
    let mut said = said.peekable();
    if said.peek().is_none() {
        return Vec::new();
    }
    let known: HashMap<_, _> =
        known.iter().map(|known| ((known.conversation_id, known.message_key.as_str()), known)).collect();
    let spans = said.filter_map(|(write, offset, text)| {
        let known = known.get(&(write.conversation_id, write.message_key.as_str()))?;
        let end = offset.saturating_add(length(text)).min(known.durable_offset);
        (offset < end).then_some(Span { message_id: known.id, offset, length: end - offset })
    });
    spans.collect()
}

/// Bytes of a text, each part with its offset. Parts may overlap, and need not cover the whole text.
#[derive(Debug, Default)]
pub(super) struct Parts<'w>(Vec<(i64, Cow<'w, [u8]>)>);

impl<'w> Parts<'w> {
    pub(super) fn add(&mut self, offset: i64, text: Cow<'w, [u8]>) {
        self.0.push((offset, text));
    }

    /// Returns the offset of the first byte that differs from the known parts; `None` if no byte differs.
    /// `text` begins at `offset`. Its bytes before `end` are stored already.
    pub(super) fn differ_from(&self, offset: i64, text: &str, end: i64) -> Option<i64> {
        let known = usize::try_from(end.saturating_sub(offset)).ok()?;
        let said = text.as_bytes().get(..known.min(text.len()))?;
        let differences = self.0.iter().filter_map(|(start, part)| {
            // Both slices begin at the first byte that both have.
            let skip = |from: i64| numbers::size(from.saturating_sub(*start));
            let ahead = numbers::size(start.saturating_sub(offset));
            let (ours, theirs) = (said.get(ahead..)?, part.get(skip(offset)..)?);
            let same = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count();
            let differs = same < ours.len().min(theirs.len());
            differs.then(|| offset.max(*start).saturating_add(numbers::count(same)))
        });
        differences.min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_difference_is_found_wherever_the_parts_begin(
            stored in "[ab]{1,12}",
            said in "[ab]{0,12}",
            offset in 0..12usize,
            cuts in proptest::collection::vec(0..12usize, 0..4),
        ) {
            let offset = offset.min(stored.len());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < stored.len()).chain([0]).collect();
            cuts.sort_unstable();
            cuts.dedup();
            let mut parts = Parts::default();
            for (index, from) in cuts.iter().enumerate() {
                let to = cuts.get(index + 1).copied().unwrap_or(stored.len());
                parts.add(i64::try_from(*from).expect("small"), Cow::Borrowed(&stored.as_bytes()[*from..to]));
            }
            let expected = stored[offset..].bytes().zip(said.bytes()).position(|(one, other)| one != other);
            let found = parts.differ_from(
                i64::try_from(offset).expect("small"),
                &said,
                i64::try_from(stored.len()).expect("small"),
            );
            prop_assert_eq!(found, expected.map(|place| i64::try_from(offset + place).expect("small")));
        }
    }
}
