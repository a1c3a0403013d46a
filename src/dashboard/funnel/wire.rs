//! Funnels: messages ⇄ parameters and results.

use chrono::{DateTime, TimeDelta, Utc};

use super::actions::Funnel;
use super::model::Params;
use super::rules::{DEFAULT_STEPS, Source, sources};
use crate::campaigns::touches::paid::PAID;
use crate::contract::Word;
use crate::dashboard::rules::{Window, share};
use crate::dashboard::wire::{conversations, window, window_of};
use crate::db::words::stored_each;
use crate::error::Result;
use crate::pb::{
    self, ConversationEnvironment, EntryPoint, FunnelGrouping, FunnelStep, dashboard_rows::List,
};
use crate::rpc;
use crate::times;

/// The time for which a customer is followed if the request sets none.
const DEFAULT_DURATION: TimeDelta = TimeDelta::days(30);

/// Returns the parameters of a request.
pub(in crate::dashboard) fn params(
    request: &pb::GetConversionFunnelRequest,
    now: DateTime<Utc>,
) -> Result<Params> {
    let pb::GetConversionFunnelRequest {
        time_from,
        time_until,
        steps: _,
        max_duration,
        grouping: _,
        campaign_id,
        entry_points,
    } = request;
    let steps: Vec<_> = request.steps().collect();
    let max_duration = max_duration.as_ref().map(times::duration_to_micros).map(TimeDelta::microseconds);
    Ok(Params {
        window: window(time_from.as_ref(), time_until.as_ref(), now)?,
        steps: if steps.is_empty() { DEFAULT_STEPS.to_vec() } else { steps },
        max_duration: max_duration.unwrap_or(DEFAULT_DURATION),
        grouping: request.grouping(),
        campaign_id: rpc::optional_id("campaign_id", campaign_id)?,
        entry_points: stored_each(entry_points),
    })
}

/// Returns the answer.
pub(in crate::dashboard) fn answer(params: &Params, funnels: Vec<Funnel>) -> pb::GetConversionFunnelResponse {
    pb::GetConversionFunnelResponse {
        window: Some(window_of(params.window, "")),
        funnels: funnels.iter().map(|found| funnel(params, found)).collect(),
    }
}

fn funnel(params: &Params, found: &Funnel) -> pb::ConversionFunnel {
    let Funnel { group, steps } = found;
    let (of_campaign, entry_point) = match params.grouping {
        FunnelGrouping::Unspecified => (String::new(), EntryPoint::Unspecified),
        FunnelGrouping::Campaign => (group.clone(), EntryPoint::Unspecified),
        FunnelGrouping::EntryPoint => {
            (String::new(), EntryPoint::from_word(group).unwrap_or(EntryPoint::Unspecified))
        }
    };
    let entered = steps.first().map_or(0, |(customers, _)| *customers);
    let before = std::iter::once(None).chain(steps.iter().map(|(customers, _)| Some(*customers)));
    let campaign_id = rpc::optional_text(params.campaign_id);
    let counts = params.steps.iter().zip(steps).zip(before).map(|((step, reached), before)| {
        let (customer_count, median) = *reached;
        // The first step has no step before it, and customers enter within the window.
        let (looked_for, of) = match before {
            Some(_) => (params.followed(), ""),
            None => (params.window, campaign_id.as_str()),
        };
        pb::FunnelStepCount {
            step: (*step).into(),
            customer_count,
            rate_of_entry: share(customer_count, entered),
            rate_of_previous: before.and_then(|before| share(customer_count, before)),
            median_duration: median.map(times::duration_from_micros),
            rows: rows(*step, looked_for, of),
        }
    });
    pb::ConversionFunnel {
        campaign_id: of_campaign,
        entry_point: entry_point.into(),
        steps: counts.collect(),
    }
}

/// Returns the requests that list the events of a step in a window. `campaign_id` limits them to one campaign,
/// unless it is empty. Conversations belong to no campaign, and are then left out.
fn rows(step: FunnelStep, window: Window, campaign_id: &str) -> Vec<pb::DashboardRows> {
    let of_campaign = |source: &&Source| campaign_id.is_empty() || !matches!(source, Source::Conversations);
    sources(step).iter().filter(of_campaign).map(|source| events(*source, window, campaign_id)).collect()
}

fn events(source: Source, Window { from, until }: Window, campaign_id: &str) -> pb::DashboardRows {
    let campaign_id = campaign_id.to_owned();
    let (from, until) = (Some(times::to_wire(from)), Some(times::to_wire(until)));
    let list = match source {
        Source::Campaigns(kinds) => List::CampaignEvents(pb::ListCampaignEventsRequest {
            campaign_id,
            kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
            occur_time_from: from,
            occur_time_until: until,
            ..Default::default()
        }),
        Source::Conversations => {
            return conversations(pb::ListConversationsRequest {
                environments: vec![ConversationEnvironment::Live.into()],
                start_time_from: from,
                start_time_until: until,
                ..Default::default()
            });
        }
        Source::Interest(kinds) => List::InterestEvents(pb::ListInterestEventsRequest {
            campaign_id,
            kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
            occur_time_from: from,
            occur_time_until: until,
            ..Default::default()
        }),
        Source::Purchases => List::Purchases(pb::ListPurchasesRequest {
            campaign_id,
            statuses: PAID.map(Into::into).into(),
            purchase_time_from: from,
            purchase_time_until: until,
            ..Default::default()
        }),
    };
    pb::DashboardRows { list: Some(list) }
}
