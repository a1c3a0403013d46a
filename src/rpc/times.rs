//! Protobuf times and durations ⇄ chrono. Postgres keeps microseconds, so we do.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};

/// Digits of a second that Postgres keeps.
const MICROSECONDS: u16 = 6;

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

/// A time for the wire.
pub fn to_wire(time: DateTime<Utc>) -> Timestamp {
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
    fn durations_keep_microseconds() {
        let wire = Duration { seconds: 2, nanos: 345_678_900 };
        let back = duration_from_micros(duration_to_micros(&wire));
        assert_eq!(back, Duration { seconds: 2, nanos: 345_678_000 });
    }
}
