//! The customers of campaigns.

use crm_backend::pb::{
    AssignCustomersResponse, AssignmentRefusal, AssignmentStatus, Campaign, CampaignEventKind,
    CampaignStatus, ContactChannel, Customer, CustomerStatus, CustomerView, ListCampaignCustomersRequest,
    ListCustomersRequest,
};
use tonic::Code;
use uuid::Uuid;

use crate::support::campaigns::{as_status, event, planned};
use crate::support::customers::named;
use crate::support::sql::multiply_customers;
use crate::support::{Crm, Refusal, Tenant, micros};

/// Returns how many were added, how many were assigned already, and the reasons of refusals.
fn counts(response: &AssignCustomersResponse) -> (i32, i32, Vec<AssignmentRefusal>) {
    let refusals = response.refused.iter().map(|refused| refused.reason()).collect();
    (response.added_count, response.existing_count, refusals)
}

async fn customers(tenant: &Tenant, names: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(tenant.customer(name).await.id);
    }
    ids
}

/// Creates a campaign on a channel.
async fn through(tenant: &Tenant, channel: ContactChannel) -> String {
    let request = Campaign { channel: channel.into(), ..planned("A campaign") };
    tenant.plan(request).await.expect("created").id
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_assigned_already_stays_as_they_are() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let ids = customers(&tenant, &["Ana", "Ben", "Eve"]).await;
    let campaign = tenant.campaign("Spring").await.id;
    let first = tenant.assign(&campaign, &[&ids[0], &ids[1], &ids[0]]).await.expect("assigned");
    assert_eq!(counts(&first), (2, 0, vec![]), "who comes again counts once");
    tenant.record(&campaign, &[event("a", &ids[0], CampaignEventKind::Opened)]).await.expect("recorded");
    let before = tenant.assignments(&campaign).await;
    for _ in 0..2 {
        let again = tenant.assign(&campaign, &[&ids[1], &ids[0]]).await.expect("assigned");
        assert_eq!(counts(&again), (0, 2, vec![]));
    }
    assert_eq!(tenant.assignments(&campaign).await, before);
    let third = tenant.assign(&campaign, &[&ids[2], &ids[0]]).await.expect("assigned");
    assert_eq!(counts(&third), (1, 1, vec![]));
    let found = tenant.assignments(&campaign).await;
    assert_eq!(found.iter().map(|row| &row.customer_id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    let opened = &found[0];
    assert_eq!((opened.campaign_id.as_str(), opened.status()), (campaign.as_str(), AssignmentStatus::Opened));
    assert!(micros(opened.assign_time) < micros(opened.update_time));
    let untouched = &found[1];
    assert_eq!(untouched.status(), AssignmentStatus::Assigned);
    assert_eq!(micros(untouched.assign_time), micros(untouched.update_time));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_assigned_who_is_not_there_or_blocked() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let foreign = other.customer("Foreign").await.id;
    let deleted = tenant.customer("Deleted").await.id;
    tenant.delete(&deleted).await.expect("deleted");
    let blocked = Customer { status: CustomerStatus::Blocked.into(), ..named("Blocked") };
    let blocked = tenant.create(blocked).await.expect("created").id;
    let fine = tenant.customer("Fine").await.id;
    let campaign = tenant.campaign("Spring").await.id;
    let unknown = Uuid::nil().to_string();
    let asked = [fine.as_str(), &blocked, &foreign, &deleted, &unknown];
    let response = tenant.assign(&campaign, &asked).await.expect("an answer");
    assert_eq!((response.added_count, response.existing_count), (1, 0));
    let mut expected = [
        (foreign.clone(), AssignmentRefusal::CustomerNotFound),
        (deleted, AssignmentRefusal::CustomerNotFound),
        (blocked, AssignmentRefusal::CustomerBlocked),
        (unknown, AssignmentRefusal::CustomerNotFound),
    ];
    expected.sort();
    let refused: Vec<_> =
        response.refused.iter().map(|refused| (refused.customer_id.clone(), refused.reason())).collect();
    assert_eq!(refused, expected, "in the order of the ids");
    let error = other.assign(&campaign, &[&foreign]).await.expect_err("not theirs");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
    // An assigned customer stays assigned in every later state; the answer tells that the customer may not be
    // contacted.
    tenant.delete(&fine).await.expect("deleted");
    let response = tenant.assign(&campaign, &[&fine]).await.expect("there");
    assert_eq!(counts(&response), (0, 0, vec![AssignmentRefusal::CustomerNotFound]));
    assert!(response.refused[0].is_assigned && tenant.assignments(&campaign).await.len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opted_out_hears_no_more_through_that_channel() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let first = through(&tenant, ContactChannel::Email).await;
    tenant.record(&first, &[event("a", &zoe, CampaignEventKind::OptedOut)]).await.expect("recorded");
    let opted_out = (0, 0, vec![AssignmentRefusal::OptedOut]);
    for (channel, expected) in [
        (ContactChannel::Email, opted_out.clone()),
        (ContactChannel::Sms, (1, 0, vec![])),
        (ContactChannel::Unspecified, (1, 0, vec![])),
        (ContactChannel::Other, (1, 0, vec![])),
    ] {
        let campaign = through(&tenant, channel).await;
        let response = tenant.assign(&campaign, &[&zoe]).await.expect("an answer");
        assert_eq!(counts(&response), expected, "{channel:?}");
    }
    // A campaign without a channel has no common channel with it.
    let quiet = through(&tenant, ContactChannel::Unspecified).await;
    tenant.record(&quiet, &[event("b", &zoe, CampaignEventKind::OptedOut)]).await.expect("recorded");
    for channel in [ContactChannel::Unspecified, ContactChannel::Other] {
        let campaign = through(&tenant, channel).await;
        assert_eq!(counts(&tenant.assign(&campaign, &[&zoe]).await.expect("an answer")), opted_out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_assignment_has_come_as_far_as_the_events_that_there_are() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let campaign = tenant.campaign("Spring").await.id;
    let kinds = [
        (CampaignEventKind::Sent, AssignmentStatus::Sent),
        (CampaignEventKind::Bounced, AssignmentStatus::Bounced),
        (CampaignEventKind::Delivered, AssignmentStatus::Delivered),
        (CampaignEventKind::Opened, AssignmentStatus::Opened),
        (CampaignEventKind::Clicked, AssignmentStatus::Clicked),
        (CampaignEventKind::Replied, AssignmentStatus::Replied),
        (CampaignEventKind::Converted, AssignmentStatus::Converted),
    ];
    let elsewhere = tenant.campaign("Another").await.id;
    for (kind, expected) in kinds {
        let (before, after) = (tenant.customer("Before").await.id, tenant.customer("After").await.id);
        tenant.assign(&campaign, &[&after]).await.expect("assigned");
        let events = [
            event(&format!("{kind:?} before"), &before, kind),
            event(&format!("{kind:?} after"), &after, kind),
            event(&format!("{kind:?} sent"), &before, CampaignEventKind::Sent),
        ];
        tenant.record(&campaign, &events).await.expect("recorded");
        let further = [event(&format!("{kind:?}"), &before, CampaignEventKind::Converted)];
        tenant.record(&elsewhere, &further).await.expect("recorded");
        tenant.assign(&campaign, &[&before]).await.expect("assigned");
        for customer in [&before, &after] {
            assert_eq!(tenant.progress(&campaign, customer).await, expected);
        }
    }
    let zoe = tenant.customer("Zoe").await.id;
    tenant.assign(&campaign, &[&zoe]).await.expect("assigned");
    tenant.record(&campaign, &[event("out", &zoe, CampaignEventKind::OptedOut)]).await.expect("recorded");
    assert_eq!(tenant.progress(&campaign, &zoe).await, AssignmentStatus::Assigned, "it is a consent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_whom_the_list_of_customers_shows() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let create = async |name: &str, source: &str, tag: &str| -> Customer {
        let request = Customer { source: source.to_owned(), tags: vec![tag.to_owned()], ..named(name) };
        tenant.create(request).await.expect("created")
    };
    create("Café Ana", "fair", "vip").await;
    create("Café Ben", "web", "vip").await;
    create("Bakery Eve", "fair", "new").await;
    let gone = create("Café Gone", "fair", "vip").await;
    tenant.delete(&gone.id).await.expect("deleted");
    let all = ListCustomersRequest::default;
    for (filter, expected) in [
        (all(), 3),
        (ListCustomersRequest { source: "fair".to_owned(), ..all() }, 2),
        (ListCustomersRequest { query: "cafe".to_owned(), ..all() }, 2),
        (ListCustomersRequest { query: "cafe".to_owned(), source: "fair".to_owned(), ..all() }, 1),
        (ListCustomersRequest { tags: vec!["vip".to_owned()], ..all() }, 2),
        (ListCustomersRequest { query: "%".to_owned(), ..all() }, 0),
        (ListCustomersRequest { source: "nowhere".to_owned(), ..all() }, 0),
    ] {
        let campaign = tenant.campaign("Spring").await.id;
        let listed = tenant.list(filter.clone()).await.expect("a page").customers;
        let response = tenant.assign_found(&campaign, filter.clone()).await.expect("assigned");
        assert_eq!(counts(&response), (expected, 0, vec![]), "{filter:?}");
        let mut listed: Vec<_> = listed.into_iter().map(|customer| customer.id).collect();
        listed.sort();
        let assigned = tenant.assignments(&campaign).await;
        assert_eq!(assigned.into_iter().map(|row| row.customer_id).collect::<Vec<_>>(), listed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_no_page_and_of_nobody_who_is_deleted() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let campaign = tenant.campaign("Spring").await.id;
    let filter = ListCustomersRequest {
        page_size: 5,
        page_token: "x".to_owned(),
        order_by: "create_time".to_owned(),
        show_deleted: true,
        view: CustomerView::Full.into(),
        ..Default::default()
    };
    let error = tenant.assign_found(&campaign, filter).await.expect_err("no page");
    let fields = ["page_size", "page_token", "order_by", "show_deleted", "view"];
    let fields = fields.map(|field| format!("filter.{field}"));
    error.is_invalid(&fields.iter().map(String::as_str).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_customers_are_assigned_at_once_and_not_one_more() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let sql = crm.sql().await;
    tenant.customer("Bakery").await;
    multiply_customers(&sql, &tenant, 9_999).await;
    let campaign = tenant.campaign("Spring").await.id;
    let all = ListCustomersRequest::default;
    for expected in [(10_000, 0, vec![]), (0, 10_000, vec![])] {
        let response = tenant.assign_found(&campaign, all()).await.expect("assigned");
        assert_eq!(counts(&response), expected);
    }
    tenant.customer("One more").await;
    let other = tenant.campaign("Summer").await.id;
    let error = tenant.assign_found(&other, all()).await.expect_err("too many");
    error.is_invalid(&["filter"]);
    assert_eq!(tenant.assignments(&other).await, [], "and then nobody is");
    let ids = sql.texts(&format!("SELECT id FROM customers WHERE tenant_id = '{}'", tenant.id)).await;
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let response = tenant.assign(&other, &ids[..10_000]).await.expect("assigned");
    assert_eq!(counts(&response), (10_000, 0, vec![]));
    tenant.assign(&other, &ids).await.expect_err("too many").is_invalid(&["ids.customer_ids"]);
    let removed = tenant.unassign(&other, &ids[..10_000]).await.expect("unassigned");
    assert_eq!((removed.removed_count, removed.absent_count), (10_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_is_over_takes_nobody() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign("Spring").await;
    tenant.assign(&campaign.id, &[&zoe]).await.expect("a draft takes customers");
    for status in [CampaignStatus::Active, CampaignStatus::Completed, CampaignStatus::Archived] {
        tenant.revise_campaign(as_status(&campaign, status), &[]).await.expect("allowed");
        let outcome = tenant.assign(&campaign.id, &[&zoe]).await;
        match status {
            CampaignStatus::Active => drop(outcome.expect("running")),
            _ => drop(outcome.expect_err("over").is(Code::FailedPrecondition, "CAMPAIGN_CLOSED")),
        }
    }
    let removed = tenant.unassign(&campaign.id, &[&zoe]).await.expect("they may leave");
    assert_eq!((removed.removed_count, removed.absent_count), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_is_counted_and_the_events_stay() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let ids = customers(&tenant, &["Ana", "Ben"]).await;
    let campaign = tenant.campaign("Spring").await.id;
    tenant.assign(&campaign, &[&ids[0], &ids[1]]).await.expect("assigned");
    tenant.record(&campaign, &[event("a", &ids[0], CampaignEventKind::Clicked)]).await.expect("recorded");
    let unknown = Uuid::now_v7().to_string();
    let removed = tenant.unassign(&campaign, &[&ids[0], &unknown, &ids[0]]).await.expect("unassigned");
    assert_eq!((removed.removed_count, removed.absent_count), (1, 1), "each counts once");
    assert_eq!(tenant.assignments(&campaign).await.len(), 1);
    tenant.assign(&campaign, &[&ids[0]]).await.expect("assigned again");
    assert_eq!(tenant.progress(&campaign, &ids[0]).await, AssignmentStatus::Clicked);
    let error = tenant.unassign(&unknown, &[&ids[0]]).await.expect_err("no campaign");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn assignments_are_listed_of_a_campaign_or_of_a_customer() {
    let crm = Crm::start().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    let ids = customers(&tenant, &["Ana", "Ben", "Eve", "Kim", "Zoe"]).await;
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    let campaigns = [tenant.campaign("a").await.id, tenant.campaign("b").await.id];
    for campaign in &campaigns {
        tenant.assign(campaign, &all).await.expect("assigned");
    }
    let opened: Vec<_> =
        ids[1..4].iter().map(|id| event(&format!("opened {id}"), id, CampaignEventKind::Opened)).collect();
    tenant.record(&campaigns[0], &opened).await.expect("recorded");
    let of =
        |campaign_id: &str, customer_id: &str, statuses: &[AssignmentStatus]| ListCampaignCustomersRequest {
            campaign_id: campaign_id.to_owned(),
            customer_id: customer_id.to_owned(),
            statuses: statuses.iter().map(|status| (*status).into()).collect(),
            ..Default::default()
        };
    let both = [AssignmentStatus::Opened, AssignmentStatus::Assigned];
    for (request, expected) in [
        (of(&campaigns[0], "", &[]), ids.iter().collect::<Vec<_>>()),
        (of(&campaigns[0], "", &both[..1]), ids[1..4].iter().collect()),
        (of(&campaigns[0], "", &both), ids.iter().collect()),
        (of(&campaigns[0], &ids[2], &[]), vec![&ids[2]]),
        (of(&campaigns[0], &ids[0], &both[..1]), vec![]),
        (of("", &ids[2], &[]), campaigns.iter().collect()),
        (of("", &ids[2], &both[..1]), vec![&campaigns[0]]),
        (of("", &Uuid::now_v7().to_string(), &[]), vec![]),
    ] {
        for page_size in [1, 2, 0] {
            let mut request = ListCampaignCustomersRequest { page_size, ..request.clone() };
            let mut found = Vec::new();
            loop {
                let page = tenant.assignment_page(request.clone()).await.expect("a page");
                found.extend(page.campaign_customers.into_iter().map(|row| {
                    if request.campaign_id.is_empty() { row.campaign_id } else { row.customer_id }
                }));
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{request:?}");
        }
    }
    let error = tenant.assignment_page(of("", "", &[])).await.expect_err("of whom?");
    error.is_invalid(&["campaign_id", "customer_id"]);
    let error = other.assignment_page(of(&campaigns[0], "", &[])).await.expect_err("not theirs");
    error.is(Code::NotFound, "CAMPAIGN_NOT_FOUND");
    let foreign = other.assignment_page(of("", &ids[0], &[])).await.expect("nothing");
    assert_eq!(foreign.campaign_customers, []);
}
