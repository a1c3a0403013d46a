//! Time zones, and where their days, weeks and months begin.
//!
//! The boundaries are computed here, and Postgres only sorts times into them. So there is one database of time zones,
//! independent of the build of Postgres, and the times of a counted day can also be listed.

use chrono::{
    DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

use crate::error::{Error, Result};
use crate::times;

/// The first day with a year of four digits, `0001-01-01`. It begins at the first time, in every zone.
const FIRST_DATE: NaiveDate = day(1, 1, 1);

/// The last such day, `9999-12-31`, which ends at the last time.
const LAST_DATE: NaiveDate = day(9999, 12, 31);

/// Returns the day of a constant, which must be valid.
const fn day(year: i32, month: u32, day: u32) -> NaiveDate {
    match NaiveDate::from_ymd_opt(year, month, day) {
        Some(day) => day,
        None => NaiveDate::MIN,
    }
}

/// No zone's clock was ever this far from UTC: the maximum is less than 16 hours.
const FURTHEST_FROM_UTC: TimeDelta = TimeDelta::hours(24);

/// A time zone of the IANA database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// The lengths into which time is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the next.
    Month,
}

/// A day, a week or a month of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first day.
    pub date: NaiveDate,
    /// When it begins.
    pub from: DateTime<Utc>,
    /// When it ends, exclusively: when the next one begins.
    pub until: DateTime<Utc>,
}

impl Span {
    /// Returns the part of it within a window, which may be open at either end.
    pub fn part(self, from: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Self {
        let from = from.map_or(self.from, |from| from.max(self.from));
        Self { from, until: until.map_or(self.until, |until| until.min(self.until)), ..self }
    }
}

impl Zone {
    /// Returns the zone with this name; `UTC` if the name is empty.
    ///
    /// # Errors
    ///
    /// For a name that the IANA database does not have.
    pub fn parse(field: &'static str, name: &str) -> Result<Self> {
        if name.is_empty() {
            return Ok(Self(Tz::UTC));
        }
        name.parse().map(Self).map_err(|_| {
            Error::invalid(
                field,
                "time_zone",
                "must be a name of the IANA time zone database, as it is written there, e.g. Europe/Berlin",
            )
        })
    }

    /// The zone's name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Returns the periods that overlap the time from `from` until `until`, in order. The first period may begin
    /// before `from`.
    ///
    /// Their number is not limited: the caller limits the time. No period begins before the first time or ends after
    /// the last one, so that each can be stored and listed.
    pub fn spans(self, period: Period, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Span> {
        let mut spans = Vec::new();
        let first = |from| self.span(period, period.first_day(self.date(from)?)?);
        let mut at_hand = (from < until).then_some(from).and_then(first);
        while let Some(span) = at_hand.filter(|span| span.from < until) {
            let next = period.next(span.date).filter(|next| *next <= LAST_DATE);
            at_hand = next.and_then(|date| self.span(period, date));
            // A zone that moves across the date line skips a day.
            if span.from < span.until {
                spans.push(span);
            }
        }
        spans
    }

    /// Returns the period that begins with a day; `None` at the end of the calendar.
    fn span(self, period: Period, date: NaiveDate) -> Option<Span> {
        let next = period.next(date)?;
        let from = if date <= FIRST_DATE { times::FIRST } else { self.midnight(date)? };
        let until = if next > LAST_DATE { times::LAST } else { self.midnight(next)? };
        Some(Span { date, from: times::within(from), until: times::within(until) })
    }

    /// Returns the day of a time, limited to the first and the last day. If clocks go back over midnight, the new day
    /// has begun, although the clocks show the old one again.
    fn date(self, time: DateTime<Utc>) -> Option<NaiveDate> {
        let shown = time.with_timezone(&self.0).date_naive();
        let next = shown.succ_opt()?;
        let date = if self.midnight(next)? <= time { next } else { shown };
        Some(date.clamp(FIRST_DATE, LAST_DATE))
    }

    /// Returns when a day begins: when clocks first show its midnight, or skip it.
    fn midnight(self, date: NaiveDate) -> Option<DateTime<Utc>> {
        match self.0.from_local_datetime(&date.and_time(NaiveTime::MIN)) {
            MappedLocalTime::Single(time) | MappedLocalTime::Ambiguous(time, _) => Some(time.to_utc()),
            MappedLocalTime::None => self.end_of_gap(date),
        }
    }

    /// Returns when clocks skipped the midnight at which a day would have begun.
    fn end_of_gap(self, date: NaiveDate) -> Option<DateTime<Utc>> {
        let midnight = date.and_time(NaiveTime::MIN);
        let mut before = midnight.and_utc().checked_sub_signed(FURTHEST_FROM_UTC)?;
        let mut after = midnight.and_utc().checked_add_signed(FURTHEST_FROM_UTC)?;
        // Clocks change at whole seconds.
        while (after - before).num_seconds() > 1 {
            let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
            if middle.with_timezone(&self.0).naive_local() < midnight {
                before = middle;
            } else {
                after = middle;
            }
        }
        Some(after)
    }
}

impl Period {
    /// Returns the first day of the period that contains a day.
    fn first_day(self, date: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Day => Some(date),
            Self::Week => date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into())),
            Self::Month => date.with_day(1),
        }
    }

    /// Returns the first day of the period after the one that begins with `date`.
    fn next(self, date: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Day => date.succ_opt(),
            Self::Week => date.checked_add_days(Days::new(7)),
            Self::Month => date.checked_add_months(Months::new(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::parse("time_zone", name).expect("a zone")
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    /// The periods between two times, as text.
    fn spans(name: &str, period: Period, from: &str, until: &str) -> Vec<String> {
        let spans = zone(name).spans(period, at(from), at(until));
        spans.iter().map(|span| format!("{} {}", span.date, span.from.format("%dT%H:%M:%S"))).collect()
    }

    #[test]
    fn a_zone_has_a_name_of_the_database_or_none() {
        assert_eq!(zone("").name(), "UTC");
        for name in ["Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3", "CET", "UTC"] {
            assert_eq!(zone(name).name(), name);
        }
        for name in ["europe/berlin", "Berlin", "+02:00", "Europe/Berlin ", "Mars/Olympus", "\0"] {
            let error = Zone::parse("time_zone", name).expect_err(name);
            assert!(error.to_string().starts_with("time_zone must be a name of the IANA"), "{error}");
        }
    }

    #[test]
    fn days_are_as_long_as_clocks_make_them() {
        let spring = spans("Europe/Berlin", Period::Day, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(spring, ["2026-03-28 27T23:00:00", "2026-03-29 28T23:00:00", "2026-03-30 29T22:00:00"]);
        let autumn = spans("Europe/Berlin", Period::Day, "2026-10-24T22:00:00Z", "2026-10-26T00:00:00Z");
        assert_eq!(autumn, ["2026-10-25 24T22:00:00", "2026-10-26 25T23:00:00"]);
    }

    #[test]
    fn a_day_without_a_midnight_begins_after_the_gap() {
        let days = spans("America/Sao_Paulo", Period::Day, "2018-11-03T12:00:00Z", "2018-11-05T12:00:00Z");
        assert_eq!(days, ["2018-11-03 03T03:00:00", "2018-11-04 04T03:00:00", "2018-11-05 05T02:00:00"]);
    }

    #[test]
    fn a_midnight_that_comes_twice_begins_a_day_the_first_time() {
        let havana = spans("America/Havana", Period::Day, "2026-11-01T04:00:00Z", "2026-11-02T06:00:00Z");
        assert_eq!(havana, ["2026-11-01 01T04:00:00", "2026-11-02 02T05:00:00"]);
        // Clocks went from 00:01 back to 23:01.
        for time in ["2010-11-07T02:30:30Z", "2010-11-07T03:00:00Z", "2010-11-07T03:40:00Z"] {
            let days = spans("America/St_Johns", Period::Day, time, "2010-11-07T04:00:00Z");
            assert_eq!(days, ["2010-11-07 07T02:30:00"], "{time}");
        }
    }

    #[test]
    fn zones_are_off_by_any_part_of_an_hour() {
        let kathmandu = spans("Asia/Kathmandu", Period::Day, "2026-01-01T18:14:59Z", "2026-01-01T18:15:01Z");
        assert_eq!(kathmandu, ["2026-01-01 31T18:15:00", "2026-01-02 01T18:15:00"]);
        // Its summer time is shifted by half an hour.
        let lord_howe =
            spans("Australia/Lord_Howe", Period::Day, "2026-04-04T13:00:00Z", "2026-04-05T14:00:00Z");
        assert_eq!(lord_howe, ["2026-04-05 04T13:00:00", "2026-04-06 05T13:30:00"]);
    }

    #[test]
    fn a_day_that_a_zone_left_out_is_none() {
        let apia = spans("Pacific/Apia", Period::Day, "2011-12-29T12:00:00Z", "2011-12-31T12:00:00Z");
        assert_eq!(apia, ["2011-12-29 29T10:00:00", "2011-12-31 30T10:00:00", "2012-01-01 31T10:00:00"]);
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let weeks = spans("Europe/Berlin", Period::Week, "2026-03-26T00:00:00Z", "2026-04-01T00:00:00Z");
        assert_eq!(weeks, ["2026-03-23 22T23:00:00", "2026-03-30 29T22:00:00"]);
        let months = spans("Europe/Berlin", Period::Month, "2026-01-31T22:59:59Z", "2026-03-31T22:00:01Z");
        assert_eq!(
            months,
            [
                "2026-01-01 31T23:00:00",
                "2026-02-01 31T23:00:00",
                "2026-03-01 28T23:00:00",
                "2026-04-01 31T22:00:00"
            ]
        );
    }

    #[test]
    fn no_time_has_no_periods() {
        let now = at("2026-11-26T08:00:00Z");
        assert_eq!(zone("UTC").spans(Period::Day, now, now), []);
        assert_eq!(zone("UTC").spans(Period::Day, now, now - TimeDelta::days(3)), []);
    }

    #[test]
    fn nothing_begins_before_time_itself_or_ends_after_it() {
        let zones = ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Manila", "America/Juneau"];
        let periods = [Period::Day, Period::Week, Period::Month];
        let hours = TimeDelta::hours(50);
        for (name, period) in zones.into_iter().flat_map(|name| periods.map(|period| (name, period))) {
            let first = zone(name).spans(period, times::FIRST, times::FIRST + hours);
            assert_eq!((first[0].date, first[0].from), (FIRST_DATE, times::FIRST), "{name} {period:?}");
            let last = zone(name).spans(period, times::LAST - hours, times::LAST);
            let end = last.last().expect("a period");
            assert_eq!(end.until, times::LAST, "{name} {period:?}");
            // The same for a caller that asks for whole days of UTC.
            let beyond = zone(name).spans(period, times::LAST - hours, times::LAST + hours);
            assert_eq!(beyond, last, "{name} {period:?}");
            for span in first.iter().chain(&last) {
                assert!((FIRST_DATE..=LAST_DATE).contains(&span.date), "{name} {span:?}");
                assert!(times::FIRST <= span.from && span.from < span.until, "{name} {span:?}");
                assert!(span.until <= times::LAST, "{name} {span:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_time_is_in_one_day_and_days_follow_on_each_other(
            name in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/Sao_Paulo", "America/St_Johns", "America/Havana",
                "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Monrovia", "Asia/Gaza",
            ]),
            seconds in -4_000_000_000_i64..8_000_000_000,
        ) {
            let time = DateTime::from_timestamp(seconds, 0).expect("a time");
            let today = zone(name).spans(Period::Day, time, time + TimeDelta::seconds(1));
            prop_assert_eq!(today.len(), 1);
            let day = today[0];
            prop_assert!(day.from <= time && time < day.until);
            let days = zone(name).spans(Period::Day, time, time + TimeDelta::days(3));
            prop_assert_eq!(days[0], day);
            for pair in days.windows(2) {
                prop_assert!(pair[0].date < pair[1].date);
                prop_assert_eq!(pair[0].until, pair[1].from);
            }
        }
    }
}
