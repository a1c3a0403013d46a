//! Statistics of customers: messages ⇄ parameters and results.

use chrono::{DateTime, Utc};

use super::actions::{Growth, Params, Statistics};
use crate::contract::Word;
use crate::customers::counts::Dimension;
use crate::customers::store::counts::Total;
use crate::dashboard::rules::Window;
use crate::dashboard::wire::{conversations, count, count_of, customers, window, window_of};
use crate::error::Result;
use crate::pb::{self, ConversationEnvironment, CustomerStatus, GrowthPeriod};
use crate::rpc::together::Together;
use crate::rpc::zones::{Period, Zone};
use crate::times;

/// Returns the parameters of a request.
pub(in crate::dashboard) fn params(
    request: &pb::GetCustomerStatisticsRequest,
    now: DateTime<Utc>,
) -> Result<Params> {
    let pb::GetCustomerStatisticsRequest { time_from, time_until, time_zone, growth_period: _ } = request;
    let period = match request.growth_period() {
        GrowthPeriod::Unspecified | GrowthPeriod::Day => Period::Day,
        GrowthPeriod::Week => Period::Week,
        GrowthPeriod::Month => Period::Month,
    };
    let window = window(time_from.as_ref(), time_until.as_ref(), now);
    let (window, zone) = (window, Zone::parse("time_zone", time_zone)).together()?;
    Ok(Params { window, zone, period })
}

/// Returns the answer.
pub(in crate::dashboard) fn answer(
    params: &Params,
    statistics: Statistics,
) -> pb::GetCustomerStatisticsResponse {
    let Params { window, zone, period: _ } = *params;
    let Statistics { totals, growth, active } = statistics;
    let created = growth.iter().map(|growth| growth.created).sum();
    let statuses = statuses(&totals);
    let all = statuses.iter().map(|status| status.row_count).sum();
    pb::GetCustomerStatisticsResponse {
        window: Some(window_of(window, zone.name())),
        total: Some(count("", all, Some(customers(Default::default())))),
        created: Some(count("", created, Some(customers(created_in(window))))),
        active_count: active,
        active_rows: Some(conversations(pb::ListConversationsRequest {
            environments: vec![ConversationEnvironment::Live.into()],
            start_time_from: Some(times::to_wire(window.from)),
            start_time_until: Some(times::to_wire(window.until)),
            ..Default::default()
        })),
        statuses,
        industry_categories: values(&totals, Dimension::IndustryCategory, |industry_category| {
            pb::ListCustomersRequest { industry_category, ..Default::default() }
        }),
        sources: values(&totals, Dimension::Source, |source| pb::ListCustomersRequest {
            source,
            ..Default::default()
        }),
        growth: growth.into_iter().map(Into::into).collect(),
    }
}

/// Returns the number of customers by status, in the order of the statuses.
fn statuses(totals: &[Total]) -> Vec<pb::DashboardCount> {
    let known = of(totals, Dimension::Status)
        .filter_map(|total| Some((CustomerStatus::from_word(&total.value)?, total.customers)));
    let mut known: Vec<_> = known.collect();
    known.sort_unstable_by_key(|(status, _)| i32::from(*status));
    let rows = |status: CustomerStatus| {
        customers(pb::ListCustomersRequest { statuses: vec![status.into()], ..Default::default() })
    };
    known.into_iter().map(|(status, total)| count(status.full_name(), total, Some(rows(status)))).collect()
}

/// Returns the number of customers by a value, the largest first.
fn values(
    totals: &[Total],
    dimension: Dimension,
    list: impl Fn(String) -> pb::ListCustomersRequest,
) -> Vec<pb::DashboardCount> {
    let rows = |value: &str| customers(list(value.to_owned()));
    of(totals, dimension).map(|total| count_of(total.value.clone(), total.customers, rows)).collect()
}

fn of(totals: &[Total], dimension: Dimension) -> impl Iterator<Item = &Total> {
    totals.iter().filter(move |total| total.dimension == dimension.word())
}

/// Returns the request that lists the customers created in a window.
fn created_in(Window { from, until }: Window) -> pb::ListCustomersRequest {
    pb::ListCustomersRequest {
        create_time_from: Some(times::to_wire(from)),
        create_time_until: Some(times::to_wire(until)),
        ..Default::default()
    }
}

impl From<Growth> for pb::CustomerGrowth {
    fn from(growth: Growth) -> Self {
        let Growth { date, part, created } = growth;
        Self { date: date.to_string(), created: Some(count("", created, Some(customers(created_in(part))))) }
    }
}
