//! Messages that all answers share.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use super::rules::{Spread, Window};
use crate::contract::Word;
use crate::error::Result;
use crate::pb::{self, dashboard_rows::List};
use crate::times;

/// Returns the window of a request.
pub(super) fn window(
    from: Option<&Timestamp>,
    until: Option<&Timestamp>,
    now: DateTime<Utc>,
) -> Result<Window> {
    Window::new(times::optional(from), times::optional(until), now)
}

/// Returns a window, and the time zone in which its days begin.
pub(super) fn window_of(window: Window, time_zone: &str) -> pb::TimeWindow {
    let Window { from, until } = window;
    pb::TimeWindow {
        time_from: Some(times::to_wire(from)),
        time_until: Some(times::to_wire(until)),
        time_zone: time_zone.to_owned(),
    }
}

/// Returns the rows that a request for customers lists.
pub(super) fn customers(request: pb::ListCustomersRequest) -> pb::DashboardRows {
    pb::DashboardRows { list: Some(List::Customers(request)) }
}

/// Returns the rows that a request for conversations lists.
pub(super) fn conversations(request: pb::ListConversationsRequest) -> pb::DashboardRows {
    pb::DashboardRows { list: Some(List::Conversations(request)) }
}

/// Returns the name, as in the contract, of a stored word of an enum, also of a word of a newer version. Empty
/// for an empty word.
pub(super) fn full_name<E: Word>(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!("{}{word}", E::PREFIX) }
}

/// Returns the number of rows of a value, with the request that lists them.
pub(super) fn count(
    value: impl Into<String>,
    count: i64,
    rows: Option<pb::DashboardRows>,
) -> pb::DashboardCount {
    pb::DashboardCount { value: value.into(), row_count: count, rows }
}

/// Returns the same for a value by which a list can be filtered. A list cannot be filtered by an empty value.
pub(super) fn count_of(
    value: String,
    count: i64,
    rows: impl FnOnce(&str) -> pb::DashboardRows,
) -> pb::DashboardCount {
    let rows = (!value.is_empty()).then(|| rows(&value));
    pb::DashboardCount { value, row_count: count, rows }
}

impl From<Spread> for pb::DurationSpread {
    fn from(spread: Spread) -> Self {
        let Spread { count, average, p50, p95 } = spread;
        if count == 0 {
            return Self::default();
        }
        Self {
            count,
            average: Some(times::duration_from_micros(average)),
            p50: Some(times::duration_from_micros(p50)),
            p95: Some(times::duration_from_micros(p95)),
        }
    }
}
