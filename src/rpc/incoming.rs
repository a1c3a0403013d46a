//! Reads the bytes of a request. Items are counted before memory is spent on them, and invalid bytes get an error
//! that names the field.
//!
//! An empty item of a list takes two bytes on the wire and up to some hundred once it is decoded, so a mebibyte of
//! them would take a hundred mebibytes. Therefore [`read`] first walks the bytes, along the shapes that the build
//! made from the contract. It refuses a list that is far too long without decoding it. A list that is slightly too
//! long is decoded, so that the rules can report everything else that is wrong.

use prost::Message;

use crate::contract::validate::{MAX_STRUCT_DEPTH, MAX_STRUCT_ENTRIES, MAX_VIOLATIONS, Path, Violation};
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use wire::{Cursor, Fault, Wire};

mod wire;

/// The shapes that the build generated.
mod generated {
    use super::{Field, Incoming, Kind, Open, Shape, Wire};

    include!(concat!(env!("OUT_DIR"), "/shapes.rs"));
}

use generated::SLOTS;

/// Messages of at most this many bytes are decoded without a walk: in any case they take no more than 2 MiB for a
/// moment. So the many small messages of a stream cost nothing extra.
const UNSEEN: usize = 16 << 10;

/// How many items beyond the limits of their lists are still decoded, in all lists of a request together.
const SLACK: usize = 1_000;

/// A message that comes over the wire.
pub trait Incoming: Message + Default {
    /// The shape of valid bytes; `None` for a response, whose server is trusted.
    const SHAPE: Option<&'static Shape> = None;
}

/// The shape of a message's valid bytes.
#[derive(Debug)]
pub struct Shape {
    /// The number of counts: one for each list of this message and of its single parts.
    slots: usize,
    /// Sorted by number.
    fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
    /// The maximum number of items, if it is a list or a map.
    many: Option<usize>,
    /// The index of its count, or of the first count of its parts, among the counts of its message.
    slot: usize,
}

/// The kind of a value on the wire.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A number or bytes.
    Plain(Wire),
    Text,
    Message(&'static Shape),
    Open(Open),
}

/// The parts of an open object.
#[derive(Debug, Clone, Copy)]
enum Open {
    Struct,
    Value,
    List,
}

/// Decodes the message of these bytes.
///
/// # Errors
///
/// `FIELD_INVALID` if lists have far too many items. `REQUEST_MALFORMED` if the bytes are not the message, with the
/// field and what is wrong with it.
pub fn read<M: Incoming>(bytes: &[u8]) -> Result<M> {
    if let Some(shape) = M::SHAPE.filter(|_| bytes.len() > UNSEEN) {
        let mut walk = Walk::default();
        // The decoder reports invalid bytes.
        let _ = walk.message(shape, bytes, &Path::ROOT, 0);
        walk.verdict()?;
    }
    M::decode(bytes).map_err(|_| malformed(M::SHAPE, bytes))
}

/// Returns the error for bytes that are not a message of this shape.
fn malformed(shape: Option<&'static Shape>, bytes: &[u8]) -> Error {
    let mut walk = Walk { looks_inside: true, ..Walk::default() };
    let flaw = shape.and_then(|shape| walk.message(shape, bytes, &Path::ROOT, 0).err());
    if let (None, Some(deep)) = (&flaw, walk.too_deep) {
        return Error::Invalid { reason: ErrorReason::FieldInvalid, violations: vec![deep] };
    }
    let (field, description) = match flaw {
        Some(Flaw { field, fault }) => (field, fault.description()),
        None => (String::new(), "is not the message that this RPC takes"),
    };
    Error::invalid_because(ErrorReason::RequestMalformed, field, "wire", description)
}

/// The first fault of invalid bytes.
struct Flaw {
    field: String,
    fault: Fault,
}

impl Flaw {
    fn at(path: &Path<'_>) -> impl Fn(Fault) -> Self {
        move |fault| Self { field: path.to_string(), fault }
    }
}

/// The items of a list.
struct Items {
    kind: Kind,
    max: usize,
}

/// A list that has too many items.
struct TooLong {
    field: String,
    max: usize,
    count: usize,
}

/// One walk over the bytes of a message.
struct Walk {
    /// The number of items of each list: a stack with the counts of the message and those of the items around the
    /// current position. Repeated occurrences of a single part are merged, so they are counted together.
    counts: [usize; SLOTS],
    /// The index of each list in `too_long`, by the index of its count.
    told: [Option<usize>; SLOTS],
    used: usize,
    too_long: Vec<TooLong>,
    too_deep: Option<Violation>,
    /// The number of items beyond the limits of their lists.
    excess: usize,
    /// Whether texts and packed numbers are checked too. Otherwise the decoder checks them.
    looks_inside: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            counts: [0; SLOTS],
            told: [None; SLOTS],
            used: 0,
            too_long: Vec::new(),
            too_deep: None,
            excess: 0,
            looks_inside: false,
        }
    }
}

impl Walk {
    /// Refuses lists that are far too long.
    fn verdict(self) -> Result<()> {
        if self.excess <= SLACK {
            return Ok(());
        }
        let violation = |TooLong { field, max, count }| Violation {
            field,
            rule: "repeated.max_items",
            description: format!("must have at most {max} items, has {count}"),
        };
        let violations = self.too_long.into_iter().map(violation).collect();
        Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
    }

    /// Walks over a message whose counts begin at `base`.
    fn message(
        &mut self,
        shape: &'static Shape,
        bytes: &[u8],
        at: &Path<'_>,
        base: usize,
    ) -> std::result::Result<(), Flaw> {
        self.used = self.used.max(base + shape.slots);
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let (number, wire) = cursor.tag().map_err(Flaw::at(at))?;
            let Ok(found) = shape.fields.binary_search_by_key(&number, |field| field.number) else {
                cursor.skip(wire).map_err(Flaw::at(at))?;
                continue;
            };
            let Some(field) = shape.fields.get(found) else { continue };
            let (at, slot) = (&at.field(field.name), base + field.slot);
            match field.many {
                None => self.value(field.kind, wire, &mut cursor, at, slot)?,
                Some(max) => self.item(Items { kind: field.kind, max }, wire, &mut cursor, at, slot)?,
            }
        }
        Ok(())
    }

    /// Walks over one item of a list, or over all numbers of a packed list.
    fn item(
        &mut self,
        Items { kind, max }: Items,
        wire: Wire,
        cursor: &mut Cursor<'_>,
        at: &Path<'_>,
        slot: usize,
    ) -> std::result::Result<(), Flaw> {
        let packed = match (kind, wire) {
            (Kind::Plain(number), Wire::Bytes) if number != Wire::Bytes => {
                let numbers = cursor.bytes().map_err(Flaw::at(at))?;
                if self.looks_inside {
                    let mut cursor = Cursor::new(numbers);
                    while !cursor.is_empty() {
                        cursor.skip(number).map_err(Flaw::at(at))?;
                    }
                }
                Some(match number {
                    Wire::Fixed32 => numbers.len() / 4,
                    Wire::Fixed64 => numbers.len() / 8,
                    _ => numbers.iter().filter(|byte| **byte < 0x80).count(),
                })
            }
            _ => None,
        };
        let index = self.counts.get(slot).copied().unwrap_or_default();
        self.count(slot, packed.unwrap_or(1), max, at);
        match packed {
            Some(_) => Ok(()),
            None if index >= max => cursor.skip(wire).map_err(Flaw::at(at)),
            None => {
                // An item has its own counts, beside those around it.
                let (base, at) = (self.used, &at.index(index));
                if let Kind::Message(shape) = kind {
                    self.counts.iter_mut().skip(base).take(shape.slots).for_each(|count| *count = 0);
                    self.told.iter_mut().skip(base).take(shape.slots).for_each(|told| *told = None);
                }
                let walked = self.value(kind, wire, cursor, at, base);
                self.used = base;
                walked
            }
        }
    }

    /// Counts further items of a list.
    fn count(&mut self, slot: usize, more: usize, max: usize, at: &Path<'_>) {
        let (Some(count), Some(told)) = (self.counts.get_mut(slot), self.told.get_mut(slot)) else { return };
        let before = *count;
        *count += more;
        self.excess += count.saturating_sub(max) - before.saturating_sub(max);
        if *count <= max {
            return;
        }
        if let Some(index) = *told {
            if let Some(list) = self.too_long.get_mut(index) {
                list.count = *count;
            }
        } else if self.too_long.len() < MAX_VIOLATIONS {
            *told = Some(self.too_long.len());
            self.too_long.push(TooLong { field: at.to_string(), max, count: *count });
        }
    }

    fn value(
        &mut self,
        kind: Kind,
        wire: Wire,
        cursor: &mut Cursor<'_>,
        at: &Path<'_>,
        base: usize,
    ) -> std::result::Result<(), Flaw> {
        let flaw = Flaw::at(at);
        match (kind, wire) {
            (Kind::Plain(plain), wire) if plain == wire => cursor.skip(wire).map_err(flaw),
            (Kind::Text, Wire::Bytes) => {
                let text = cursor.bytes().map_err(&flaw)?;
                self.text(text).map_err(flaw)
            }
            (Kind::Message(shape), Wire::Bytes) => {
                let bytes = cursor.bytes().map_err(flaw)?;
                self.message(shape, bytes, at, base)
            }
            (Kind::Open(open), Wire::Bytes) => {
                let bytes = cursor.bytes().map_err(&flaw)?;
                let (mut entries, level) = (0, usize::from(!matches!(open, Open::Value)));
                self.open(open, bytes, at, &mut entries, level).map_err(flaw)?;
                self.count_entries(entries, at);
                Ok(())
            }
            _ => Err(flaw(Fault::WireType)),
        }
    }

    fn text(&self, bytes: &[u8]) -> std::result::Result<(), Fault> {
        match self.looks_inside && str::from_utf8(bytes).is_err() {
            true => Err(Fault::Utf8),
            false => Ok(()),
        }
    }

    /// Walks over a part of an open object, nested `level` objects and lists deep.
    fn open(
        &mut self,
        open: Open,
        bytes: &[u8],
        at: &Path<'_>,
        entries: &mut usize,
        level: usize,
    ) -> std::result::Result<(), Fault> {
        if level > MAX_STRUCT_DEPTH {
            self.too_deep.get_or_insert_with(|| Violation {
                field: at.to_string(),
                rule: "struct.max_depth",
                description: format!("must be at most {MAX_STRUCT_DEPTH} levels deep"),
            });
            return Ok(());
        }
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            let (number, wire) = cursor.tag()?;
            match (open, number, wire) {
                (Open::Struct | Open::List, 1, Wire::Bytes) => {
                    let inner = cursor.bytes()?;
                    *entries += 1;
                    if *entries > MAX_STRUCT_ENTRIES {
                        continue;
                    }
                    match open {
                        Open::Struct => self.entry(inner, at, entries, level)?,
                        _ => self.open(Open::Value, inner, at, entries, level)?,
                    }
                }
                (Open::Value, 3, Wire::Bytes) => self.text(cursor.bytes()?)?,
                (Open::Value, 5, Wire::Bytes) => {
                    self.open(Open::Struct, cursor.bytes()?, at, entries, level + 1)?;
                }
                (Open::Value, 6, Wire::Bytes) => {
                    self.open(Open::List, cursor.bytes()?, at, entries, level + 1)?;
                }
                (Open::Value, 1 | 4, Wire::Varint) | (Open::Value, 2, Wire::Fixed64) => cursor.skip(wire)?,
                (Open::Struct | Open::List, 1, _) | (Open::Value, 1..=6, _) => return Err(Fault::WireType),
                _ => cursor.skip(wire)?,
            }
        }
        Ok(())
    }

    /// Walks over a key and its value.
    fn entry(
        &mut self,
        bytes: &[u8],
        at: &Path<'_>,
        entries: &mut usize,
        level: usize,
    ) -> std::result::Result<(), Fault> {
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() {
            match cursor.tag()? {
                (1, Wire::Bytes) => self.text(cursor.bytes()?)?,
                (2, Wire::Bytes) => self.open(Open::Value, cursor.bytes()?, at, entries, level)?,
                (1 | 2, _) => return Err(Fault::WireType),
                (_, wire) => cursor.skip(wire)?,
            }
        }
        Ok(())
    }

    fn count_entries(&mut self, entries: usize, at: &Path<'_>) {
        let Some(excess) = entries.checked_sub(MAX_STRUCT_ENTRIES).filter(|excess| *excess > 0) else {
            return;
        };
        self.excess += excess;
        if self.too_long.len() < MAX_VIOLATIONS {
            let (field, max) = (at.to_string(), MAX_STRUCT_ENTRIES);
            self.too_long.push(TooLong { field, max, count: entries });
        }
    }
}

#[cfg(test)]
mod tests;
