//! The reads of the statistics of customers, within one transaction.

use std::collections::HashMap;

use chrono::NaiveDate;
use futures_util::try_join;

use super::store::{self, Created};
use crate::customers::store::counts::{self, Total};
use crate::dashboard::rules::{MAX_VALUES, Window};
use crate::db::TenantTx;
use crate::error::Result;
use crate::rpc::zones::{Period, Span, Zone};

/// The parameters of a request.
#[derive(Debug, Clone, Copy)]
pub(in crate::dashboard) struct Params {
    pub(in crate::dashboard) window: Window,
    pub(in crate::dashboard) zone: Zone,
    pub(in crate::dashboard) period: Period,
}

/// The statistics of customers.
#[derive(Debug)]
pub(in crate::dashboard) struct Statistics {
    /// The number of customers that have each value.
    pub(in crate::dashboard) totals: Vec<Total>,
    /// The number of customers created in each period, in order.
    pub(in crate::dashboard) growth: Vec<Growth>,
    /// The number of customers that had a conversation.
    pub(in crate::dashboard) active: i64,
}

/// The number of customers that were created in a period, within the window.
#[derive(Debug, Clone, Copy)]
pub(in crate::dashboard) struct Growth {
    /// The first day of the period.
    pub(in crate::dashboard) date: NaiveDate,
    pub(in crate::dashboard) part: Window,
    pub(in crate::dashboard) created: i64,
}

/// Counts customers.
pub(in crate::dashboard) async fn read(tx: &TenantTx, params: &Params) -> Result<Statistics> {
    let Params { window, zone, period } = *params;
    tx.plan_for_sums().await?;
    let spans = zone.spans(period, window.from, window.until);
    let starts: Vec<_> = spans.iter().map(|span| span.from).collect();
    let (totals, created, active) = try_join!(
        counts::list(tx, MAX_VALUES),
        store::count_created(tx, window, &starts),
        store::count_active(tx, window),
    )?;
    Ok(Statistics { totals, growth: growth(window, &spans, created), active })
}

/// Returns each period with the number of customers created in it.
fn growth(window: Window, spans: &[Span], created: Vec<Created>) -> Vec<Growth> {
    let created: HashMap<i32, i64> =
        created.into_iter().map(|Created { period, customers }| (period, customers)).collect();
    let growth = (1..).zip(spans).map(|(number, span)| Growth {
        date: span.date,
        part: window.of(*span),
        created: created.get(&number).copied().unwrap_or(0),
    });
    growth.collect()
}
