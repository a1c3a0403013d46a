//! Protobuf times and durations ⇄ chrono. Postgres keeps microseconds, so we do.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};

/// Digits of a second that Postgres keeps.
const MICROSECONDS: u16 = 6;

/// 0001-01-01T00:00:00Z, the first time that `google.protobuf.Timestamp` has.
pub const FIRST_SECOND: i64 = -62_135_596_800;

/// 9999-12-31T23:59:59Z, the last second that it has.
pub const LAST_SECOND: i64 = 253_402_300_799;

/// When times begin.
pub const FIRST: DateTime<Utc> = at(FIRST_SECOND, 0);

/// When they end, to the microsecond.
pub const LAST: DateTime<Utc> = at(LAST_SECOND, 999_999_000);

/// A time of a constant, which must be one.
const fn at(seconds: i64, nanos: u32) -> DateTime<Utc> {
    match DateTime::from_timestamp(seconds, nanos) {
        Some(time) => time,
        None => DateTime::<Utc>::UNIX_EPOCH,
    }
}

/// The nearest time that can be written down: what is worked out from a time near the end of all times may
/// lie beyond it.
pub fn within(time: DateTime<Utc>) -> DateTime<Utc> {
    time.clamp(FIRST, LAST)
}

/// Now, to the microsecond, so that a time reads back from Postgres as it was written.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(MICROSECONDS)
}

/// A time of the wire, to the microsecond. Nothing for one that no calendar has, which the rules of
/// the contract refuse before.
pub fn from_wire(time: &Timestamp) -> Option<DateTime<Utc>> {
    let nanos = u32::try_from(time.nanos).ok()?;
    DateTime::from_timestamp(time.seconds, nanos).map(|time| time.trunc_subsecs(MICROSECONDS))
}

/// The same of a time that may be unset.
pub fn optional(time: Option<&Timestamp>) -> Option<DateTime<Utc>> {
    time.and_then(from_wire)
}

/// A time for the wire. No other function makes one, so that every time of every answer can be printed.
pub fn to_wire(time: DateTime<Utc>) -> Timestamp {
    let time = within(time);
    Timestamp { seconds: time.timestamp(), nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0) }
}

/// A duration for the wire.
pub fn duration_to_wire(duration: TimeDelta) -> Duration {
    Duration { seconds: duration.num_seconds(), nanos: duration.subsec_nanos() }
}

/// A duration of the wire in microseconds.
pub fn duration_to_micros(duration: &Duration) -> i64 {
    duration.seconds.saturating_mul(1_000_000).saturating_add(i64::from(duration.nanos / 1_000))
}

/// Microseconds for the wire.
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
