//! Protobuf times and durations ⇄ chrono. Times are cut to microseconds, as Postgres stores them.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};

use crate::contract::validate::{FIRST_SECOND, LAST_SECOND};

/// The digits of a second that Postgres stores.
const MICROSECONDS: u16 = 6;

/// The first time.
pub const FIRST: DateTime<Utc> = at(FIRST_SECOND, 0);

/// The last time, to the microsecond.
pub const LAST: DateTime<Utc> = at(LAST_SECOND, 999_999_000);

/// Returns the time of a constant, which must be valid.
const fn at(seconds: i64, nanos: u32) -> DateTime<Utc> {
    match DateTime::from_timestamp(seconds, nanos) {
        Some(time) => time,
        None => DateTime::<Utc>::UNIX_EPOCH,
    }
}

/// Returns the nearest time that can be stored. A time computed from one near the limits may lie beyond them.
pub fn within(time: DateTime<Utc>) -> DateTime<Utc> {
    time.clamp(FIRST, LAST)
}

/// Returns the current time to the microsecond, so that Postgres returns it unchanged.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(MICROSECONDS)
}

/// Converts a time of the wire, to the microsecond. `None` for a time beyond any calendar, which the rules of the
/// contract refuse before.
pub fn from_wire(time: &Timestamp) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(time.nanos).ok()?;
    DateTime::from_timestamp(time.seconds, nanos).map(|time| time.trunc_subsecs(MICROSECONDS))
}

/// As [`from_wire`], for a time that may be unset.
pub fn optional(time: Option<&Timestamp>) -> Option<DateTime<Utc>> {
    time.and_then(from_wire)
}

/// Converts a time for the wire. No other function does so, so that every time of every answer is printable.
pub fn to_wire(time: DateTime<Utc>) -> Timestamp {
    let time = within(time);
    Timestamp { seconds: time.timestamp(), nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0) }
}

/// Converts a duration for the wire.
pub fn duration_to_wire(duration: TimeDelta) -> Duration {
    Duration { seconds: duration.num_seconds(), nanos: duration.subsec_nanos() }
}

/// Converts a duration of the wire to microseconds.
pub fn duration_to_micros(duration: &Duration) -> i64 {
    duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos / 1_000))
}

/// Converts microseconds to a duration for the wire.
pub fn duration_from_micros(micros: i64) -> Duration {
    duration_to_wire(TimeDelta::microseconds(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_microseconds() {
        let wire = Timestamp { seconds: 1_795_000_000, nanos: 123_456_789 };
        let back = from_wire(&wire).map(to_wire);
        assert_eq!(back, Some(Timestamp { seconds: 1_795_000_000, nanos: 123_456_000 }));
        let before_1970 = Timestamp { seconds: -1, nanos: 500_000_000 };
        assert_eq!(from_wire(&before_1970).map(to_wire), Some(before_1970));
    }

    #[test]
    fn times_end_where_timestamps_end() {
        let printed = |time: DateTime<Utc>| to_wire(time).to_string();
        assert_eq!(printed(FIRST), "0001-01-01T00:00:00Z");
        assert_eq!(printed(LAST), "9999-12-31T23:59:59.999999Z");
        assert_eq!(printed(DateTime::<Utc>::MIN_UTC), printed(FIRST));
        assert_eq!(printed(LAST + TimeDelta::nanoseconds(1)), printed(LAST));
    }

    #[test]
    fn durations_keep_microseconds() {
        let wire = Duration { seconds: 2, nanos: 345_678_900 };
        let back = duration_from_micros(duration_to_micros(&wire));
        assert_eq!(back, Duration { seconds: 2, nanos: 345_678_000 });
    }
}
