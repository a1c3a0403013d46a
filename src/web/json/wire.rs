//! Writes the bytes of protobuf.

/// The kinds of values on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'v> {
    /// Numbers of a variable length: integers, booleans and enums.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Texts, bytes and messages.
    Bytes(&'v [u8]),
}

/// Writes a field.
pub(super) fn put(out: &mut Vec<u8>, number: u32, value: Wire<'_>) {
    let kind = match value {
        Wire::Varint(_) => 0,
        Wire::Fixed64(_) => 1,
        Wire::Bytes(_) => 2,
        Wire::Fixed32(_) => 5,
    };
    varint(out, u64::from(number) << 3 | kind);
    match value {
        Wire::Varint(value) => varint(out, value),
        Wire::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Wire::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Wire::Bytes(bytes) => {
            varint(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Writes a message in a field, which `fill` writes. Its length stands before it, so it is written apart first.
pub(super) fn put_message<T>(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut inner = Vec::new();
    let filled = fill(&mut inner);
    put(out, number, Wire::Bytes(&inner));
    filled
}

/// Returns the number of a signed integer as `sint32` and `sint64` have it.
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
