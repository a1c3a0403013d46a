//! The wire format of protobuf, as far as it can be read without the message's definition.

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Varint,
    Fixed64,
    /// Bytes with their length before them: texts, messages, packed numbers.
    Bytes,
    /// A group with its number. proto3 has no groups.
    Group(u32),
    Fixed32,
}

/// Why bytes are not protobuf, or not this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Truncated,
    Varint,
    Tag,
    Nested,
    WireType,
    Utf8,
}

impl Fault {
    /// The text for people, after the name of the field.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Truncated => "ends in the middle of a value: the bytes of the request were cut off",
            Self::Varint => "has a number of more than 64 bits, which protobuf does not have",
            Self::Tag => {
                "has a field number or a wire type that protobuf does not have: the bytes are not protobuf"
            }
            Self::Nested => {
                "has groups within groups, more than 100 deep, which no message of this service has"
            }
            Self::WireType => {
                "has another type than in this server's contract: make the client anew from the server's protos"
            }
            Self::Utf8 => "must be valid UTF-8: send text in this encoding",
        }
    }
}

/// The most bytes of a varint.
const MAX_VARINT: usize = 10;

/// How deep groups may be nested, as with prost.
const MAX_GROUPS: usize = 100;

/// The lowest and the highest number of a field.
const NUMBERS: std::ops::RangeInclusive<u64> = 1..=(1 << 29) - 1;

/// Bytes that are still to be read.
pub(super) struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the number of a field, and how its value is encoded.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<(u32, Wire), Fault> {
        match self.tag_or_end()? {
            Tag::Value(number, wire) => Ok((number, wire)),
            Tag::EndOfGroup(_) => Err(Fault::Tag),
        }
    }

    /// Reads the bytes of a value with a length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'b [u8], Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| Fault::Truncated)?;
        self.take(length)
    }

    /// Skips a value.
    #[inline]
    pub(super) fn skip(&mut self, wire: Wire) -> Result<(), Fault> {
        match wire {
            Wire::Varint => self.varint().map(drop),
            Wire::Fixed64 => self.take(8).map(drop),
            Wire::Bytes => self.bytes().map(drop),
            Wire::Fixed32 => self.take(4).map(drop),
            Wire::Group(number) => self.skip_group(number),
        }
    }

    fn skip_group(&mut self, number: u32) -> Result<(), Fault> {
        let mut open = vec![number];
        while let Some(inner) = open.last().copied() {
            match self.tag_or_end()? {
                Tag::EndOfGroup(number) if number == inner => {
                    open.pop();
                }
                Tag::EndOfGroup(_) => return Err(Fault::Tag),
                Tag::Value(_, Wire::Group(_)) if open.len() >= MAX_GROUPS => return Err(Fault::Nested),
                Tag::Value(_, Wire::Group(number)) => open.push(number),
                Tag::Value(_, wire) => self.skip(wire)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn tag_or_end(&mut self) -> Result<Tag, Fault> {
        let tag = self.varint()?;
        let number = Some(tag >> 3).filter(|number| NUMBERS.contains(number));
        let number = number.and_then(|number| u32::try_from(number).ok()).ok_or(Fault::Tag)?;
        let wire = match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Bytes,
            3 => Wire::Group(number),
            4 => return Ok(Tag::EndOfGroup(number)),
            5 => Wire::Fixed32,
            _ => return Err(Fault::Tag),
        };
        Ok(Tag::Value(number, wire))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(MAX_VARINT).enumerate() {
            value |=
                u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * index).unwrap_or(u32::MAX)).unwrap_or(0);
            if *byte < 0x80 {
                if index + 1 == MAX_VARINT && *byte > 1 {
                    return Err(Fault::Varint);
                }
                self.0 = self.0.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.0.len() < MAX_VARINT { Fault::Truncated } else { Fault::Varint })
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'b [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Fault::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// The tag before a value.
enum Tag {
    Value(u32, Wire),
    EndOfGroup(u32),
}
