//! Campaigns: their status changes, their fields, their lists.

use crm_backend::pb::{
    Campaign, CampaignEventKind, CampaignStatus, ContactChannel, CreateCampaignRequest, ListCampaignsRequest,
    Money,
};
use tonic::Code;
use uuid::Uuid;

use crate::support::campaigns::{Outcome, as_status, at, euros, event, money, planned};
use crate::support::{Crm, Refusal, Tenant, micros};

/// Returns a campaign with every field that a client may set.
fn whole() -> Campaign {
    Campaign {
        name: "Spring".to_owned(),
        goal: "More tastings\nin spring".to_owned(),
        channel: ContactChannel::Email.into(),
        audience: "Bakeries in Berlin".to_owned(),
        status: CampaignStatus::Scheduled.into(),
        start_time: Some(at("2026-03-01T08:00:00.123456Z")),
        end_time: Some(at("2026-03-31T08:00:00Z")),
        budget: Some(money("EUR", 1_000, 500_000_000)),
        spent: Some(money("EUR", 0, 1_000)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_reads_back_as_it_was_created() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request = whole();
    let campaign = tenant.plan(request.clone()).await.expect("created");
    assert_eq!(tenant.read_campaign(&campaign.id).await.expect("there"), campaign);
    let said = Campaign {
        name: campaign.name.clone(),
        goal: campaign.goal.clone(),
        channel: campaign.channel,
        audience: campaign.audience.clone(),
        status: campaign.status,
        start_time: campaign.start_time,
        end_time: campaign.end_time,
        budget: campaign.budget.clone(),
        spent: campaign.spent.clone(),
        ..Default::default()
    };
    assert_eq!(said, request);
    assert_eq!(Uuid::try_parse(&campaign.id).expect("a UUID").get_version_num(), 7);
    assert_eq!(micros(campaign.create_time), micros(campaign.update_time));
    // Fields that the server sets are ignored in a new campaign.
    let made = Campaign { create_time: Some(at("2020-01-01T00:00:00Z")), ..campaign.clone() };
    let another = tenant.plan(made).await.expect("created");
    assert_ne!((&another.id, another.create_time), (&campaign.id, Some(at("2020-01-01T00:00:00Z"))));
    let error = tenant.campaigns().create_campaign(CreateCampaignRequest::default()).await;
    error.expect_err("no campaign").is_invalid(&["campaign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_begins_as_a_draft_or_scheduled() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    assert_eq!(tenant.campaign("Spring").await.status(), CampaignStatus::Draft);
    for status in [CampaignStatus::Active, CampaignStatus::Paused, CampaignStatus::Archived] {
        let request = Campaign { status: status.into(), ..whole() };
        tenant.plan(request).await.expect_err("no beginning").is_invalid(&["campaign.status"]);
    }
    let request = Campaign { start_time: None, end_time: None, ..whole() };
    tenant.plan(request).await.expect_err("scheduled for when?").is_invalid(&["campaign.start_time"]);
    for end_time in [whole().start_time, Some(at("2026-02-01T00:00:00Z"))] {
        let request = Campaign { end_time, ..whole() };
        tenant.plan(request).await.expect_err("ends before it begins").is_invalid(&["campaign.end_time"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_not_allowed_is_named_with_those_that_are() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let campaign = tenant.campaign("Spring").await;
    let to = async |status| tenant.revise_campaign(as_status(&campaign, status), &[]).await;
    let error = to(CampaignStatus::Completed).await.expect_err("a draft");
    error.is(Code::FailedPrecondition, "CAMPAIGN_STEP_NOT_ALLOWED");
    assert!(
        error.message().ends_with("is DRAFT; steps that are allowed from there: SCHEDULED, ACTIVE, ARCHIVED")
    );
    let details = tonic_types::StatusExt::get_error_details(&error);
    let violations = &details.precondition_failure().expect("the state").violations;
    assert_eq!(violations[0].subject, format!("campaign/{}", campaign.id));
    to(CampaignStatus::Scheduled).await.expect_err("no start").is_invalid(&["campaign.start_time"]);
    for status in [CampaignStatus::Active, CampaignStatus::Paused, CampaignStatus::Active] {
        assert_eq!(to(status).await.expect("allowed").status(), status);
    }
    let same = to(CampaignStatus::Active).await.expect("no step");
    assert_eq!(same, tenant.read_campaign(&campaign.id).await.expect("there"), "and no change");
    to(CampaignStatus::Completed).await.expect("allowed");
    to(CampaignStatus::Archived).await.expect("allowed");
    let error = to(CampaignStatus::Active).await.expect_err("put away");
    error.is(Code::FailedPrecondition, "CAMPAIGN_STEP_NOT_ALLOWED");
    let renamed = Campaign { id: campaign.id.clone(), name: "Autumn".to_owned(), ..Default::default() };
    let error = tenant.revise_campaign(renamed, &[]).await.expect_err("it changes no more");
    error.is(Code::FailedPrecondition, "CAMPAIGN_CLOSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_etag_changes_and_deletes_nothing() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let first = tenant.campaign("Spring").await;
    let change = |goal: &str, etag: &str| Campaign {
        id: first.id.clone(),
        goal: goal.to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let second = tenant.revise_campaign(change("a", &first.etag), &[]).await.expect("changed");
    assert!(micros(second.update_time) > micros(first.update_time));
    let error = tenant.revise_campaign(change("b", &first.etag), &[]).await.expect_err("stale");
    error.is(Code::Aborted, "ETAG_STALE");
    let error = tenant.delete_campaign(&first.id, &first.etag).await.expect_err("stale");
    error.is(Code::Aborted, "ETAG_STALE");
    assert_eq!(tenant.delete_campaign(&first.id, &second.etag).await.expect("deleted"), second);
    let error = tenant.read_campaign(&first.id).await.expect_err("gone");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
    let error = tenant.delete_campaign(&first.id, "").await.expect_err("gone");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_something_came_of_is_not_deleted() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    let customer = tenant.customer("Zoe").await;
    let in_use = async |campaign: &Campaign| {
        let error = tenant.delete_campaign(&campaign.id, "").await.expect_err("in use");
        error.is(Code::FailedPrecondition, "CAMPAIGN_IN_USE");
        assert!(error.message().contains("archive it"), "{error:?}");
        tenant.read_campaign(&campaign.id).await.expect("it stays");
    };
    let campaign = tenant.campaign("With events").await;
    tenant
        .record(&campaign.id, &[event("a", &customer.id, CampaignEventKind::Sent)])
        .await
        .expect("recorded");
    in_use(&campaign).await;
    for (table, columns, values) in [
        ("purchases", "currency, amount_micros, purchased_at", "'EUR', 1, now()"),
        (
            "interest_events",
            "event_id, kind, subject, subject_key, weight, occurred_at, has_occurred_at",
            "'a', 'VIEWED', 'x', 'x', 1, now(), true",
        ),
    ] {
        let campaign = tenant.campaign(table).await;
        sql.run(&format!(
            "INSERT INTO {table} (tenant_id, id, customer_id, campaign_id, {columns})
             VALUES ('{}', gen_random_uuid(), '{}', '{}', {values})",
            tenant.id, customer.id, campaign.id
        ))
        .await;
        in_use(&campaign).await;
    }
    let campaign = tenant.campaign("With customers").await;
    tenant.assign(&campaign.id, &[&customer.id]).await.expect("assigned");
    tenant.delete_campaign(&campaign.id, "").await.expect("assignments go with it");
    assert_eq!(sql.number("SELECT count(*) FROM campaign_customers").await, 0);
}

/// Returns invalid amounts, each with the invalid field.
fn bad_amounts() -> Vec<(Money, &'static str)> {
    vec![
        (money("EUR", -1, 0), "units"),
        (money("EUR", 1, -1_000), "nanos"),
        (money("EUR", 1, 999), "nanos"),
        (money("EUR", 1, 1_000_000_000), "nanos"),
        (money("EUR", 1_000_000_000_001, 0), "units"),
        (money("EUR", i64::MAX, 0), "units"),
        (money("eur", 1, 0), "currency_code"),
        (money("EURO", 1, 0), "currency_code"),
        (money("", 1, 0), "currency_code"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_that_is_none_is_refused_wherever_it_stands() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let existing = tenant.campaign("Spring").await;
    let customer = tenant.customer("Zoe").await;
    for (amount, field) in bad_amounts() {
        let request = Campaign { budget: Some(amount.clone()), spent: None, ..whole() };
        tenant.plan(request).await.expect_err("no amount").is_invalid(&[&format!("campaign.budget.{field}")]);
        let request = Campaign { budget: None, spent: Some(amount.clone()), ..whole() };
        tenant.plan(request).await.expect_err("no amount").is_invalid(&[&format!("campaign.spent.{field}")]);
        let change = Campaign { id: existing.id.clone(), budget: Some(amount.clone()), ..Default::default() };
        let error = tenant.revise_campaign(change, &["budget"]).await.expect_err("no amount");
        error.is_invalid(&[&format!("campaign.budget.{field}")]);
        let costly = crm_backend::pb::CampaignEvent {
            cost: Some(amount.clone()),
            ..event("a", &customer.id, CampaignEventKind::Sent)
        };
        let results = tenant.record(&existing.id, &[costly]).await.expect("an answer");
        let refused = crate::support::campaigns::refusal(&results[0]);
        refused.is_invalid(&[&format!("cost.{field}")]);
    }
    let largest = money("EUR", 1_000_000_000_000, 999_999_000);
    let request = Campaign { budget: Some(largest.clone()), spent: None, ..whole() };
    assert_eq!(tenant.plan(request).await.expect("the largest").budget, Some(largest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_has_one_currency() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let request = Campaign { spent: Some(money("USD", 1, 0)), ..whole() };
    tenant.plan(request).await.expect_err("two currencies").is_invalid(&["campaign.spent.currency_code"]);
    let campaign = tenant.plan(whole()).await.expect("created");
    let change = |budget, spent| Campaign { id: campaign.id.clone(), budget, spent, ..Default::default() };
    let error = tenant.revise_campaign(change(Some(money("USD", 1, 0)), None), &[]).await;
    error.expect_err("spent is in EUR").is_invalid(&["campaign.spent.currency_code"]);
    // An amount changes as a whole: new units do not keep the nanos of the earlier amount.
    let changed = tenant.revise_campaign(change(Some(euros(7)), None), &[]).await.expect("changed");
    assert_eq!((changed.budget, changed.spent), (Some(euros(7)), campaign.spent.clone()));
    let error = tenant.revise_campaign(change(Some(euros(7)), None), &["budget.units"]).await;
    error.expect_err("half an amount").is_invalid(&["update_mask.paths[0]"]);
    let both = change(Some(money("USD", 1, 0)), Some(money("USD", 2, 0)));
    tenant.revise_campaign(both, &[]).await.expect("nothing was counted in the other one");
    let cleared = tenant.revise_campaign(change(None, None), &["budget", "spent"]).await.expect("cleared");
    assert_eq!((cleared.budget, cleared.spent), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_in_which_events_have_a_cost_stays() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let customer = tenant.customer("Zoe").await;
    let campaign = tenant.plan(whole()).await.expect("created");
    let costly = crm_backend::pb::CampaignEvent {
        cost: Some(money("EUR", 0, 10_000_000)),
        ..event("a", &customer.id, CampaignEventKind::Sent)
    };
    let results = tenant.record(&campaign.id, &[costly]).await.expect("recorded");
    assert!(results[0].error().is_none(), "{results:?}");
    let change = |budget, spent| Campaign { id: campaign.id.clone(), budget, spent, ..Default::default() };
    let dollars = Some(money("USD", 1, 0));
    for other in [change(dollars.clone(), dollars), change(None, None)] {
        let error = tenant.revise_campaign(other, &["budget", "spent"]).await.expect_err("in use");
        error.is(Code::FailedPrecondition, "CAMPAIGN_CURRENCY_FIXED");
    }
    let kept = tenant.revise_campaign(change(None, Some(euros(9))), &["budget", "spent"]).await;
    assert_eq!(kept.expect("the same currency").spent, Some(euros(9)));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_filter_and_go_on_where_the_page_before_ended() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let channels = [ContactChannel::Email, ContactChannel::Sms, ContactChannel::Unspecified];
    for number in 0..9 {
        let channel = channels[number % 3].into();
        let request = Campaign { channel, ..planned(&format!("{number}")) };
        let campaign = tenant.plan(request).await.expect("created");
        if number % 2 == 0 {
            tenant.revise_campaign(as_status(&campaign, CampaignStatus::Active), &[]).await.expect("active");
        }
    }
    let all = ListCampaignsRequest::default;
    let active = vec![CampaignStatus::Active.into()];
    let early = vec![CampaignStatus::Draft.into(), CampaignStatus::Active.into()];
    let sms = vec![ContactChannel::Sms.into()];
    let fourth =
        names(&tenant, ListCampaignsRequest { order_by: "create_time".to_owned(), ..all() }).await.1[4];
    for (request, expected) in [
        (all(), "876543210"),
        (ListCampaignsRequest { order_by: "create_time".to_owned(), ..all() }, "012345678"),
        (ListCampaignsRequest { statuses: active.clone(), ..all() }, "86420"),
        (ListCampaignsRequest { statuses: early, ..all() }, "876543210"),
        (ListCampaignsRequest { channels: sms.clone(), ..all() }, "741"),
        (ListCampaignsRequest { channels: sms, statuses: active, ..all() }, "4"),
        (ListCampaignsRequest { create_time_from: Some(fourth), ..all() }, "87654"),
        (ListCampaignsRequest { create_time_until: Some(fourth), ..all() }, "3210"),
    ] {
        for page_size in [0, 1, 2, 500] {
            let request = ListCampaignsRequest { page_size, ..request.clone() };
            assert_eq!(names(&tenant, request.clone()).await.0, expected, "{request:?}");
        }
    }
}

/// Returns the names of all campaigns of a list, joined, and when they were created.
async fn names(tenant: &Tenant, mut request: ListCampaignsRequest) -> (String, Vec<prost_types::Timestamp>) {
    let mut found = (String::new(), Vec::new());
    loop {
        let page = tenant.campaign_page(request.clone()).await.expect("a page");
        for campaign in page.campaigns {
            found.0 += &campaign.name;
            found.1.push(campaign.create_time.expect("a time"));
        }
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}
