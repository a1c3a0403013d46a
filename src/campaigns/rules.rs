//! Decisions about campaigns that need no database.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::store::Campaign;
use crate::contract::Word;
use crate::error::{Error, Result};
use crate::pb::{CampaignStatus as Status, ErrorReason};

/// Returns the statuses that may follow a status, as in the contract.
fn steps(from: Status) -> &'static [Status] {
    use Status::{Active, Archived, Completed, Draft, Paused, Scheduled, Unspecified};
    match from {
        Draft => &[Scheduled, Active, Archived],
        Scheduled => &[Draft, Active, Archived],
        Active => &[Paused, Completed],
        Paused => &[Active, Completed],
        Completed => &[Archived],
        Archived | Unspecified => &[],
    }
}

/// Refuses a new campaign that has a later status than SCHEDULED.
pub(crate) fn check_begins(status: Status) -> Result<()> {
    match status {
        Status::Draft | Status::Scheduled => Ok(()),
        _ => {
            Err(Error::invalid("campaign.status", "enum.in", "must be DRAFT or SCHEDULED for a new campaign"))
        }
    }
}

/// Checks the fields of a campaign against each other.
pub(crate) fn check(
    status: Status,
    (starts_at, ends_at): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
) -> Result<()> {
    if status == Status::Scheduled && starts_at.is_none() {
        return Err(Error::invalid(
            "campaign.start_time",
            "required",
            "must be set for a campaign that is SCHEDULED",
        ));
    }
    match (starts_at, ends_at) {
        (Some(starts_at), Some(ends_at)) if ends_at <= starts_at => {
            Err(Error::invalid("campaign.end_time", "timestamp.gt", "must be after the start_time"))
        }
        _ => Ok(()),
    }
}

/// Refuses a change that the status of a campaign does not allow.
pub(crate) fn check_update(current: &Campaign, wanted: &Campaign) -> Result<()> {
    let (from, to) = (current.status.0, wanted.status.0);
    if from != to && !steps(from).contains(&to) {
        return Err(not_allowed(current, &format!("the step to {}", to.word())));
    }
    if from == Status::Archived {
        return Err(closed(current, "a change"));
    }
    check(to, (wanted.starts_at, wanted.ends_at))
}

/// Refuses to assign customers to a campaign that is over.
pub(crate) fn check_assign(campaign: &Campaign) -> Result<()> {
    match campaign.status.0 {
        Status::Completed | Status::Archived => Err(closed(campaign, "assigning customers")),
        _ => Ok(()),
    }
}

/// Returns the key of a campaign's gate. The tenant is part of it, so that a tenant cannot block the gates of
/// others.
pub(crate) fn gate_key(tenant: Uuid, id: Uuid) -> i64 {
    let hash = Sha256::new().chain_update(tenant.as_bytes()).chain_update(id.as_bytes()).finalize();
    hash.as_slice().first_chunk().copied().map(i64::from_be_bytes).unwrap_or_default()
}

/// Returns the error for a campaign that this tenant does not have.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound { reason: ErrorReason::CampaignNotFound, kind: "campaign", name: id.to_string() }
}

/// Returns the error for deleting a campaign with events or attributions.
pub(crate) fn in_use(id: Uuid) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::CampaignInUse,
        message: "the campaign has events, or something is attributed to it; archive it instead".to_owned(),
        subject: subject(id),
    }
}

/// Returns the error for changing the currency of a campaign whose events have a cost in it.
pub(crate) fn costs_have_currency(campaign: &Campaign) -> Error {
    let currency = campaign.currency.as_deref().unwrap_or_default();
    Error::FailedPrecondition {
        reason: ErrorReason::CampaignCurrencyFixed,
        message: format!(
            "the campaign has events with a cost in {currency}; keep its budget and what is spent in {currency}"
        ),
        subject: subject(campaign.id),
    }
}

/// Returns the error for a campaign that is over.
pub(crate) fn closed(campaign: &Campaign, what: &str) -> Error {
    Error::FailedPrecondition {
        reason: ErrorReason::CampaignClosed,
        message: format!(
            "{what} is not allowed: the campaign is {}; create another campaign instead",
            campaign.status.0.word()
        ),
        subject: subject(campaign.id),
    }
}

/// Returns the error for a step that the status of a campaign does not allow.
pub(crate) fn not_allowed(campaign: &Campaign, what: &str) -> Error {
    let from = campaign.status.0;
    let allowed: Vec<_> = steps(from).iter().map(|status| status.word()).collect();
    let allowed = match allowed.is_empty() {
        true => "none; create another campaign instead".to_owned(),
        false => allowed.join(", "),
    };
    Error::FailedPrecondition {
        reason: ErrorReason::CampaignStepNotAllowed,
        message: format!(
            "{what} is not allowed: the campaign is {}; steps that are allowed from there: {allowed}",
            from.word()
        ),
        subject: subject(campaign.id),
    }
}

fn subject(id: Uuid) -> String {
    format!("campaign/{id}")
}

#[cfg(test)]
mod tests;
