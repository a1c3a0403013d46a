//! What one transaction reads of customers.

use std::collections::HashMap;

use chrono::NaiveDate;
use futures_util::try_join;

use super::store;
use crate::customers::store::counts::{self, Total};
use crate::dashboard::rules::{MAX_VALUES, Window};
use crate::db::TenantTx;
use crate::error::Result;
use crate::rpc::zones::{Period, Span, Zone};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::dashboard) struct Wish {
    pub(in crate::dashboard) window: Window,
    pub(in crate::dashboard) zone: Zone,
    pub(in crate::dashboard) period: Period,
}

/// What customers come to.
#[derive(Debug)]
pub(in crate::dashboard) struct Statistics {
    /// How many have each value.
    pub(in crate::dashboard) totals: Vec<Total>,
    /// How many were created in each period, in order.
    pub(in crate::dashboard) growth: Vec<Growth>,
    /// How many had a conversation.
    pub(in crate::dashboard) active: i64,
}

/// How many customers were created in a period, as far as it is in the window.
#[derive(Debug, Clone, Copy)]
pub(in crate::dashboard) struct Growth {
    /// Its first day.
    pub(in crate::dashboard) date: NaiveDate,
    pub(in crate::dashboard) part: Window,
    pub(in crate::dashboard) created: i64,
}

/// Counts customers.
pub(in crate::dashboard) async fn read(tx: &TenantTx, wish: &Wish) -> Result<Statistics> {
    let Wish { window, zone, period } = *wish;
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

/// Each period with what was created in it. `created` says how many by the number of the period, from 1.
fn growth(window: Window, spans: &[Span], created: Vec<(i32, i64)>) -> Vec<Growth> {
    let created: HashMap<i32, i64> = created.into_iter().collect();
    let growth = (1..).zip(spans).map(|(number, span)| Growth {
        date: span.date,
        part: window.of(*span),
        created: created.get(&number).copied().unwrap_or(0),
    });
    growth.collect()
}
