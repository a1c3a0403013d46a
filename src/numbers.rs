//! Conversions between the numbers of Rust, of Postgres and of the contract.

use std::time::Duration;

/// Converts a number of things in memory to the signed number that Postgres and the contract count with.
pub fn count(number: usize) -> i64 {
    #[expect(
        clippy::expect_used,
        reason = "an address space has no 2^63 bytes, so there are never so many things"
    )]
    i64::try_from(number).expect("a number of things in memory")
}

/// Converts a count or an index to the 32 bits of the contract. A larger number becomes the largest one of the
/// contract.
pub fn int32(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Converts a limit or a count of the contract to a number of things in memory. A negative number becomes 0.
pub fn size(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(0)
}

/// Returns the milliseconds of a duration.
pub fn milliseconds(duration: Duration) -> u64 {
    #[expect(clippy::expect_used, reason = "2^64 milliseconds are 585 million years")]
    u64::try_from(duration.as_millis()).expect("a duration that was measured or set")
}
