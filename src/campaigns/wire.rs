//! Campaigns: messages ⇄ rows.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::rules;
use super::store::{Campaign, Filter};
use crate::db::words::{Text, stored, stored_each, wire};
use crate::error::Result;
use crate::pb::{self, CampaignStatus};
use crate::rpc::etag::Etag;
use crate::rpc::together::Together;
use crate::rpc::{self, money};
use crate::times;

impl From<Campaign> for pb::Campaign {
    fn from(row: Campaign) -> Self {
        let Campaign {
            id,
            name,
            goal,
            channel,
            audience,
            status,
            starts_at,
            ends_at,
            currency,
            budget_micros,
            spent_micros,
            created_at,
            updated_at,
            revision,
        } = row;
        let amount =
            |micros: i64| currency.as_ref().map(|currency| money::of_micros(currency, micros.into()));
        Self {
            id: id.to_string(),
            name,
            goal,
            channel: wire(channel),
            audience,
            status: wire(Some(status)),
            start_time: starts_at.map(times::to_wire),
            end_time: ends_at.map(times::to_wire),
            budget: budget_micros.and_then(amount),
            spent: spent_micros.and_then(amount),
            create_time: Some(times::to_wire(created_at)),
            update_time: Some(times::to_wire(updated_at)),
            etag: Etag::of(id, revision, updated_at).to_string(),
        }
    }
}

/// Returns the row of a new campaign.
pub(crate) fn create(request: &pb::CreateCampaignRequest, id: Uuid, now: DateTime<Utc>) -> Result<Campaign> {
    let pb::CreateCampaignRequest { campaign, request_id: _ } = request;
    let pb::Campaign {
        id: _,
        name,
        goal,
        channel,
        audience,
        status,
        start_time,
        end_time,
        budget,
        spent,
        create_time: _,
        update_time: _,
        etag: _,
    } = rpc::required("campaign", campaign.as_ref())?;
    let status = stored(*status).unwrap_or(Text(CampaignStatus::Draft));
    let (starts_at, ends_at) = (times::optional(start_time.as_ref()), times::optional(end_time.as_ref()));
    let (Amounts { currency, budget_micros, spent_micros }, (), ()) = (
        amounts(
            Amount { field: "campaign.budget", money: budget.as_ref() },
            Amount { field: "campaign.spent", money: spent.as_ref() },
        ),
        rules::check_begins(status.0),
        rules::check(status.0, (starts_at, ends_at)),
    )
        .together()?;
    Ok(Campaign {
        id,
        name: name.clone(),
        goal: goal.clone(),
        channel: stored(*channel),
        audience: audience.clone(),
        status,
        starts_at,
        ends_at,
        currency,
        budget_micros,
        spent_micros,
        created_at: now,
        updated_at: now,
        revision: 1,
    })
}

/// Returns the row of a campaign that a client changed. Fields that only the server writes stay as they are.
/// The status stays too, if the client sets none.
pub(crate) fn update(wanted: pb::Campaign, current: &Campaign) -> Result<Campaign> {
    let pb::Campaign {
        id: _,
        name,
        goal,
        channel,
        audience,
        status,
        start_time,
        end_time,
        budget,
        spent,
        create_time: _,
        update_time: _,
        etag: _,
    } = wanted;
    let Amounts { currency, budget_micros, spent_micros } = amounts(
        Amount { field: "campaign.budget", money: budget.as_ref() },
        Amount { field: "campaign.spent", money: spent.as_ref() },
    )?;
    Ok(Campaign {
        name,
        goal,
        channel: stored(channel),
        audience,
        status: stored(status).unwrap_or(current.status),
        starts_at: times::optional(start_time.as_ref()),
        ends_at: times::optional(end_time.as_ref()),
        currency,
        budget_micros,
        spent_micros,
        ..current.clone()
    })
}

/// Returns which campaigns a list shows.
pub(crate) fn filter(request: &pb::ListCampaignsRequest) -> Filter {
    Filter {
        statuses: stored_each(&request.statuses),
        channels: stored_each(&request.channels),
        created_from: times::optional(request.create_time_from.as_ref()),
        created_until: times::optional(request.create_time_until.as_ref()),
    }
}

/// The budget and the spending of a campaign, in one currency.
struct Amounts {
    currency: Option<String>,
    budget_micros: Option<i64>,
    spent_micros: Option<i64>,
}

/// An amount of a request, and the path of its field.
struct Amount<'m> {
    field: &'static str,
    money: Option<&'m pb::Money>,
}

/// Returns the amounts in these fields. The currency is that of the budget, if there is one.
fn amounts(budget: Amount<'_>, spent: Amount<'_>) -> Result<Amounts> {
    let one_currency = match (budget.money, spent.money) {
        (Some(budget), Some(money)) => money::check_currency(spent.field, money, &budget.currency_code),
        _ => Ok(()),
    };
    let (budget_micros, spent_micros, ()) = (
        budget.money.map(|money| money::to_micros(budget.field, money)).transpose(),
        spent.money.map(|money| money::to_micros(spent.field, money)).transpose(),
        one_currency,
    )
        .together()?;
    let currency = budget.money.or(spent.money).map(|money| money.currency_code.clone());
    Ok(Amounts { currency, budget_micros, spent_micros })
}
