//! Messages that all answers share.

use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use super::rules::{Spread, Window};
use crate::error::Result;
use crate::pb::{self, dashboard_rows::List};
use crate::rpc::times;
use crate::rpc::words::Word;

/// The window that a request says.
pub(super) fn window(
    from: Option<&Timestamp>,
    until: Option<&Timestamp>,
    now: DateTime<Utc>,
) -> Result<Window> {
    Window::new(times::optional(from), times::optional(until), now)
}

/// A window, and the time zone in which its days begin.
pub(super) fn window_of(window: Window, time_zone: &str) -> pb::TimeWindow {
    let Window { from, until } = window;
    pb::TimeWindow {
        time_from: Some(times::to_wire(from)),
        time_until: Some(times::to_wire(until)),
        time_zone: time_zone.to_owned(),
    }
}

/// The customers that a request lists.
pub(super) fn customers(request: pb::ListCustomersRequest) -> pb::DashboardRows {
    pb::DashboardRows { list: Some(List::Customers(request)) }
}

/// The conversations that a request lists.
pub(super) fn conversations(request: pb::ListConversationsRequest) -> pb::DashboardRows {
    pb::DashboardRows { list: Some(List::Conversations(request)) }
}

/// The name in the contract of an enum's word as it is stored, also of one of a newer version; empty for none.
pub(super) fn full_name<E: Word>(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!("{}{word}", E::PREFIX) }
}

/// So many rows of a value, and the request that lists them.
pub(super) fn count(
    value: impl Into<String>,
    count: i64,
    rows: Option<pb::DashboardRows>,
) -> pb::DashboardCount {
    pb::DashboardCount { value: value.into(), row_count: count, rows }
}

/// The same of a value by which a list can be filtered, which it cannot by none.
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
