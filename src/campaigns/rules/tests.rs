//! The lifecycle of a campaign, step by step.

use chrono::{DateTime, TimeDelta};

use super::*;
use crate::db::words::Text;

const ALL: [Status; 6] =
    [Status::Draft, Status::Scheduled, Status::Active, Status::Paused, Status::Completed, Status::Archived];

fn campaign(status: Status) -> Campaign {
    let now = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
    Campaign {
        id: Uuid::from_u128(7),
        name: "Spring".to_owned(),
        goal: String::new(),
        channel: None,
        audience: String::new(),
        status: Text(status),
        starts_at: Some(now),
        ends_at: None,
        currency: None,
        budget_micros: None,
        spent_micros: None,
        created_at: now,
        updated_at: now,
        revision: 1,
    }
}

/// Returns the steps that the contract's table allows, in the text of the table.
fn allowed(from: Status) -> &'static str {
    match from {
        Status::Draft => "SCHEDULED, ACTIVE, ARCHIVED",
        Status::Scheduled => "DRAFT, ACTIVE, ARCHIVED",
        Status::Active => "PAUSED, COMPLETED",
        Status::Paused => "ACTIVE, COMPLETED",
        Status::Completed => "ARCHIVED",
        _ => "none",
    }
}

#[test]
fn every_step_is_as_the_contract_has_it() {
    for (from, to) in ALL.into_iter().flat_map(|from| ALL.map(|to| (from, to))) {
        let outcome = check_update(&campaign(from), &campaign(to));
        let step = allowed(from).split(", ").any(|word| word == to.word());
        if step || (from == to && from != Status::Archived) {
            assert!(outcome.is_ok(), "{from:?} to {to:?}: {outcome:?}");
            continue;
        }
        let error = outcome.expect_err("not allowed");
        if from == to {
            assert_eq!(error.reason(), ErrorReason::CampaignClosed);
            continue;
        }
        assert_eq!(error.reason(), ErrorReason::CampaignStepNotAllowed);
        let text = error.to_string();
        assert!(text.contains(&format!("the campaign is {}", from.word())), "{text}");
        assert!(text.contains(&format!("allowed from there: {}", allowed(from))), "{text}");
    }
}

#[test]
fn what_is_archived_changes_no_more() {
    let current = campaign(Status::Archived);
    let wanted = Campaign { name: "Summer".to_owned(), ..current.clone() };
    let error = check_update(&current, &wanted).expect_err("archived");
    assert!(error.to_string().starts_with("a change is not allowed: the campaign is ARCHIVED"), "{error}");
    for status in [Status::Draft, Status::Scheduled, Status::Active, Status::Paused, Status::Completed] {
        let current = campaign(status);
        assert!(check_update(&current, &Campaign { name: "Summer".to_owned(), ..current.clone() }).is_ok());
    }
}

#[test]
fn customers_are_assigned_while_something_may_be_sent() {
    for status in ALL {
        let over = matches!(status, Status::Completed | Status::Archived);
        assert_eq!(check_assign(&campaign(status)).is_err(), over, "{status:?}");
    }
}

#[test]
fn what_is_scheduled_has_a_start_and_an_end_comes_after_it() {
    let starts_at = campaign(Status::Scheduled).starts_at;
    let error = check(Status::Scheduled, (None, None)).expect_err("no start");
    assert!(error.to_string().starts_with("campaign.start_time must be set"), "{error}");
    for (seconds, fine) in [(-1, false), (0, false), (1, true)] {
        let ends_at = starts_at.map(|starts_at| starts_at + TimeDelta::seconds(seconds));
        let outcome = check(Status::Scheduled, (starts_at, ends_at));
        assert_eq!(outcome.is_ok(), fine, "{seconds}");
    }
    assert!(check(Status::Draft, (None, starts_at)).is_ok(), "an end alone says enough");
}

#[test]
fn a_gate_is_one_campaigns_of_one_tenant() {
    let (ana, ben) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let keys = [gate_key(ana, ana), gate_key(ana, ben), gate_key(ben, ana), gate_key(ben, ben)];
    let different: std::collections::BTreeSet<_> = keys.into_iter().collect();
    assert_eq!(different.len(), keys.len());
    assert_eq!(gate_key(ana, ben), keys[1], "and always the same");
}
