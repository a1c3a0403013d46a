//! The performance of campaigns: messages ⇄ counts.

use chrono::{DateTime, Utc};

use super::actions::{Params, Performance, Statistics};
use super::rules::{Rates, Revenue, Tally};
use crate::campaigns::events::rules::KINDS;
use crate::contract::Word;
use crate::db::words::wire;
use crate::error::Result;
use crate::numbers;
use crate::pb::{self, CampaignAttribution};
use crate::rpc::together::Together;
use crate::rpc::zones::Zone;
use crate::rpc::{self, money};
use crate::times;

/// The campaign and the period of the events that a number counts. An empty field does not limit them.
#[derive(Debug, Clone, Default)]
struct Rows {
    campaign_id: String,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

impl Rows {
    /// Returns the request that lists the events of a kind.
    fn of(&self, kind: pb::CampaignEventKind) -> pb::ListCampaignEventsRequest {
        pb::ListCampaignEventsRequest {
            campaign_id: self.campaign_id.clone(),
            kinds: vec![kind.into()],
            occur_time_from: self.from.map(times::to_wire),
            occur_time_until: self.until.map(times::to_wire),
            ..Default::default()
        }
    }
}

/// Returns the conversions of a group.
fn conversions(tally: &Tally, rows: &Rows) -> Option<pb::CampaignConversions> {
    let converted = pb::CampaignEventKind::Converted;
    let of_campaign = KINDS.into_iter().zip(tally.events).find(|(kind, _)| *kind == converted);
    let of_campaign = of_campaign.map_or(0, |(_, events)| events);
    let interest_events = || pb::ListInterestEventsRequest {
        campaign_id: rows.campaign_id.clone(),
        kinds: vec![pb::InterestKind::Converted.into()],
        occur_time_from: rows.from.map(times::to_wire),
        occur_time_until: rows.until.map(times::to_wire),
        ..Default::default()
    };
    // No request lists the conversions of all campaigns without those of no campaign.
    let is_listed = tally.elsewhere > 0 && !rows.campaign_id.is_empty();
    (tally.all.converted() > 0).then(|| pb::CampaignConversions {
        customer_count: tally.all.converted(),
        campaign_event_count: of_campaign,
        campaign_event_rows: (of_campaign > 0).then(|| rows.of(converted)),
        interest_event_count: tally.elsewhere,
        interest_event_rows: is_listed.then(interest_events),
    })
}

/// Returns the parameters of a request.
pub(crate) fn params(request: &pb::GetCampaignPerformanceRequest) -> Result<Params> {
    let pb::GetCampaignPerformanceRequest { campaign_id, time_from, time_until, time_zone, attribution } =
        request;
    let (campaign_id, zone) =
        (rpc::id("campaign_id", campaign_id), Zone::parse("time_zone", time_zone)).together()?;
    Ok(Params {
        campaign_id,
        from: times::optional(time_from.as_ref()),
        until: times::optional(time_until.as_ref()),
        zone,
        attribution: self::attribution(*attribution),
    })
}

/// Returns how purchases are attributed to campaigns.
pub(crate) fn attribution(value: i32) -> CampaignAttribution {
    match CampaignAttribution::try_from(value) {
        Ok(CampaignAttribution::Unspecified) | Err(_) => CampaignAttribution::Direct,
        Ok(said) => said,
    }
}

/// Returns the answer about a campaign.
pub(crate) fn performance(params: &Params, performance: Performance) -> pb::GetCampaignPerformanceResponse {
    let Performance { campaign, assigned, total, days } = performance;
    let currency = campaign.currency.as_deref();
    let rows = Rows { campaign_id: params.campaign_id.to_string(), from: params.from, until: params.until };
    let cost = total.cost + i128::from(campaign.spent_micros.unwrap_or(0));
    let days = days.into_iter().map(|(day, tally)| {
        // The window may begin or end within the day.
        let part = day.part(rows.from, rows.until);
        let rows = Rows { from: Some(part.from), until: Some(part.until), ..rows.clone() };
        pb::CampaignDay {
            date: day.date.to_string(),
            start_time: Some(times::to_wire(day.from)),
            performance: Some(tallied(&tally, currency.map(|currency| (currency, tally.cost)), &rows)),
        }
    });
    pb::GetCampaignPerformanceResponse {
        days: days.collect(),
        total: Some(tallied(&total, currency.map(|currency| (currency, cost)), &rows)),
        assigned_count: numbers::int32(assigned),
    }
}

/// Returns the answer about all campaigns in a window.
pub(crate) fn statistics(
    window: pb::TimeWindow,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    statistics: Statistics,
) -> pb::GetCampaignStatisticsResponse {
    let Statistics { statuses, total, campaigns } = statistics;
    let rows = Rows { campaign_id: String::new(), from: Some(from), until: Some(until) };
    let statuses = statuses.into_iter().map(|(status, count)| pb::DashboardCount {
        value: status.0.full_name().to_owned(),
        row_count: count,
        rows: Some(pb::DashboardRows {
            list: Some(pb::dashboard_rows::List::Campaigns(pb::ListCampaignsRequest {
                statuses: vec![wire(Some(status))],
                ..Default::default()
            })),
        }),
    });
    let campaigns = campaigns.into_iter().map(|(campaign, tally)| {
        let cost = campaign.currency.as_deref().map(|currency| (currency, tally.cost));
        let rows = Rows { campaign_id: campaign.id.to_string(), ..rows.clone() };
        pb::CampaignStatistics {
            performance: Some(tallied(&tally, cost, &rows)),
            campaign_id: campaign.id.to_string(),
            name: campaign.name,
            channel: wire(campaign.channel),
            status: wire(Some(campaign.status)),
        }
    });
    pb::GetCampaignStatisticsResponse {
        window: Some(window),
        statuses: statuses.collect(),
        total: Some(tallied(&total, None, &rows)),
        campaigns: campaigns.collect(),
    }
}

/// Returns the performance of a group, with its cost if that is known.
fn tallied(tally: &Tally, cost: Option<(&str, i128)>, rows: &Rows) -> pb::CampaignPerformance {
    let Rates { delivery, open, click, reply, conversion, opt_out, spam, bounce } = tally.rates();
    let counts = KINDS.into_iter().zip(tally.events).filter(|(_, events)| *events > 0);
    let per_conversion =
        cost.and_then(|(currency, micros)| Some(money::of_micros(currency, tally.per_conversion(micros)?)));
    pb::CampaignPerformance {
        counts: counts
            .map(|(kind, event_count)| pb::CampaignEventCount {
                kind: kind.into(),
                event_count,
                customer_count: tally.all.customers_of(kind),
                rows: Some(rows.of(kind)),
            })
            .collect(),
        customer_count: tally.all.customers(),
        delivery_rate: delivery,
        open_rate: open,
        click_rate: click,
        reply_rate: reply,
        conversion_rate: conversion,
        conversions: conversions(tally, rows),
        opt_out_rate: opt_out,
        bounce_rate: bounce,
        spam_rate: spam,
        sent_customer_count: tally.sent.customers(),
        reached_customer_count: tally.reached.customers(),
        cost: cost.map(|(currency, micros)| money::of_micros(currency, micros)),
        cost_per_conversion: per_conversion,
        revenues: tally.revenues.iter().map(|(currency, revenue)| revenue_in(currency, *revenue)).collect(),
    }
}

fn revenue_in(currency: &str, revenue: Revenue) -> pb::PurchaseRevenue {
    let Revenue { purchases, customers, gross, refunded } = revenue;
    pb::PurchaseRevenue {
        purchase_count: purchases,
        customer_count: customers,
        gross: Some(money::of_micros(currency, gross)),
        refunded: Some(money::of_micros(currency, refunded)),
        net: Some(money::of_micros(currency, gross - refunded)),
    }
}
