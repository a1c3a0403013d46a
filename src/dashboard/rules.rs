//! What all statistics share: their window, and the spread of values.

use chrono::{DateTime, TimeDelta, Utc};

use crate::error::{Error, Result};
use crate::rpc::zones::Span;
use crate::times;

/// The length of a window if the request sets none: what people look at.
const DEFAULT_WINDOW: TimeDelta = TimeDelta::days(30);

/// The limit of a window: a year, and some days to compare it with the year before.
const MAX_WINDOW: TimeDelta = TimeDelta::days(400);

/// The limit of values in a list. The values with the largest counts come first.
pub(super) const MAX_VALUES: i64 = 100;

/// The time that statistics cover: from the first until before the second. Both can be written in the contract,
/// so that an answer can repeat the window, and list its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
}

impl Window {
    /// Returns the window of a request. A missing end is now. A missing start is 30 days before the end, or the
    /// first time of the contract if that is later.
    ///
    /// # Errors
    ///
    /// If the window is empty or too long.
    pub(super) fn new(
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let until = until.unwrap_or(now);
        let from = from.unwrap_or_else(|| {
            times::within(until.checked_sub_signed(DEFAULT_WINDOW).unwrap_or(times::FIRST))
        });
        if until == times::FIRST {
            let description = "must be after 0001-01-01T00:00:00Z, when times begin";
            return Err(Error::invalid("time_until", "timestamp.gt", description));
        }
        if from >= until {
            let description = "must be before time_until, which is now when it is not set";
            return Err(Error::invalid("time_from", "timestamp.lt", description));
        }
        if until.signed_duration_since(from) > MAX_WINDOW {
            let description = "must be at most 400 days before time_until, which is now when it is not set";
            return Err(Error::invalid("time_from", "timestamp.within", description));
        }
        Ok(Self { from, until })
    }

    /// Returns the same window with an end that is `by` later, or the last time of the contract.
    pub(super) fn longer(self, by: TimeDelta) -> Self {
        let until = self.until.checked_add_signed(by).unwrap_or(times::LAST);
        Self { until: times::within(until), ..self }
    }

    /// Returns the part of a period that is in the window.
    pub(super) fn of(self, span: Span) -> Self {
        let Span { date: _, from, until } = span.part(Some(self.from), Some(self.until));
        Self { from, until }
    }
}

/// The spread of values, all in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spread {
    pub(super) count: i64,
    pub(super) average: i64,
    pub(super) p50: i64,
    pub(super) p95: i64,
}

/// Returns a share of a whole; `None` if the whole is 0.
pub(super) fn share(part: i64, whole: i64) -> Option<f64> {
    // Counts of rows are far below 2^53, above which doubles skip integers.
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn window(from: Option<&str>, until: Option<&str>) -> Result<(DateTime<Utc>, DateTime<Utc>)> {
        let now = at("2026-11-26T08:00:00Z");
        Window::new(from.map(at), until.map(at), now).map(|Window { from, until }| (from, until))
    }

    #[test]
    fn a_window_is_the_last_30_days_or_what_is_said() {
        let now = at("2026-11-26T08:00:00Z");
        let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
        assert_eq!(window(None, None).expect("a window"), (now - DEFAULT_WINDOW, now));
        assert_eq!(window(Some("2026-01-01T00:00:00Z"), None).expect("a window"), (early, now));
        let until = window(None, Some("2026-02-01T00:00:00Z")).expect("a window");
        assert_eq!(until, (late - DEFAULT_WINDOW, late));
        let both = window(Some("2026-01-01T00:00:00Z"), Some("2026-02-01T00:00:00Z"));
        assert_eq!(both.expect("a window"), (early, late));
    }

    #[test]
    fn a_window_has_some_time_in_it_and_no_more_than_400_days() {
        let refused = [
            (Some("2026-02-01T00:00:00Z"), Some("2026-02-01T00:00:00Z")),
            (Some("2026-02-01T00:00:00.000001Z"), Some("2026-02-01T00:00:00Z")),
            (Some("2027-01-01T00:00:00Z"), None),
            (Some("2025-01-01T00:00:00Z"), Some("2026-02-05T00:00:00.000001Z")),
            (Some("2025-01-01T00:00:00Z"), None),
        ];
        for (from, until) in refused {
            let error = window(from, until).expect_err("no window");
            assert!(error.to_string().starts_with("time_from must be "), "{error}");
        }
        assert!(window(Some("2025-01-01T00:00:00Z"), Some("2026-02-05T00:00:00Z")).is_ok(), "400 days");
        assert!(window(Some("2026-02-01T00:00:00Z"), Some("2026-02-01T00:00:00.000001Z")).is_ok());
    }

    #[test]
    fn a_window_is_within_all_times() {
        let early = window(None, Some("0001-01-15T00:00:00Z")).expect("a window");
        assert_eq!(early, (times::FIRST, at("0001-01-15T00:00:00Z")));
        let error = window(None, Some("0001-01-01T00:00:00Z")).expect_err("no window");
        assert!(error.to_string().starts_with("time_until must be after"), "{error}");
        let late = Window::new(None, Some(times::LAST), times::now()).expect("a window");
        assert_eq!(late.longer(TimeDelta::microseconds(1)), late);
        assert_eq!(late.longer(TimeDelta::MAX), late);
    }

    #[test]
    fn nothing_has_no_share() {
        assert_eq!(share(0, 0), None);
        assert_eq!(share(1, 4), Some(0.25));
    }
}
