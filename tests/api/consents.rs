//! Customers' consents to being contacted: a state per customer and channel, independent of the order of events.

use std::collections::BTreeMap;

use crm_backend::pb::{
    AssignmentRefusal, AssignmentStatus, Campaign, CampaignEvent, CampaignEventKind, Consent, ConsentState,
    ContactChannel, ContextFormat, Customer, CustomerStatus, GetAiContextRequest, GetCustomerBySlugRequest,
    GetCustomerRequest, ListCampaignCustomersRequest, ListConsentsRequest,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::campaigns::{Outcome, at, event, event_at, planned, refusal};
use crate::support::{Crm, Refusal, Tenant, at_once};

use CampaignEventKind::{Deferred, Delivered, Dropped, OptedIn, OptedOut, Sent, SpamReported};

impl Tenant {
    /// Creates a campaign on a channel.
    async fn campaign_on(&self, channel: ContactChannel) -> Campaign {
        let request = Campaign { channel: channel.into(), ..planned("Spring") };
        self.plan(request).await.expect("a campaign")
    }

    /// Returns a customer's consents, as the customer shows them.
    async fn consents(&self, customer_id: &str) -> Vec<Consent> {
        let request =
            GetCustomerRequest { id: customer_id.to_owned(), show_deleted: true, ..Default::default() };
        self.customers().get_customer(request).await.expect("the customer").into_inner().consents
    }

    /// Returns all pages of a list of consents.
    async fn all_consents(&self, mut request: ListConsentsRequest) -> Vec<Consent> {
        let mut found = Vec::new();
        loop {
            let page = self.customers().list_consents(request.clone()).await.expect("a page").into_inner();
            found.extend(page.consents);
            if page.next_page_token.is_empty() {
                return found;
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn happened(&self, campaign: &Campaign, events: &[CampaignEvent]) {
        for result in self.record(&campaign.id, events).await.expect("recorded") {
            assert_eq!(result.error(), None, "{result:?}");
        }
    }

    /// Returns why customers of a campaign may not be contacted, as its list shows it.
    async fn refusals(&self, campaign: &Campaign, exclude_refused: bool) -> Vec<(String, AssignmentRefusal)> {
        let request = ListCampaignCustomersRequest {
            campaign_id: campaign.id.clone(),
            exclude_refused,
            ..Default::default()
        };
        let page = self.assignment_page(request).await.expect("a page");
        page.campaign_customers.iter().map(|row| (row.customer_id.clone(), row.refusal())).collect()
    }
}

/// Returns channels and states, each with its time.
fn said(consents: &[Consent]) -> Vec<(ContactChannel, ConsentState, String)> {
    let since = |consent: &Consent| consent.since_time.expect("a time").to_string();
    consents.iter().map(|consent| (consent.channel(), consent.state(), since(consent))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_is_of_the_channel_on_which_it_happened_whatever_the_campaign_uses_later() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign_on(ContactChannel::Email).await;
    let time = "2026-03-01T08:00:00Z";
    tenant.happened(&campaign, &[event_at("1", &zoe, OptedOut, time)]).await;
    let sms = Campaign { id: campaign.id.clone(), channel: ContactChannel::Sms.into(), ..Default::default() };
    tenant.revise_campaign(sms, &["channel"]).await.expect("changed");
    assert_eq!(
        said(&tenant.consents(&zoe).await),
        [(ContactChannel::Email, ConsentState::OptedOut, time.to_owned())]
    );
    for (channel, refused) in [(ContactChannel::Email, 1), (ContactChannel::Sms, 0)] {
        let other = tenant.campaign_on(channel).await;
        let response = tenant.assign(&other.id, &[&zoe]).await.expect("an answer");
        assert_eq!((response.refused.len(), response.added_count), (refused, i32::from(refused == 0)));
    }
    let events = tenant.all_events(Default::default()).await;
    assert_eq!(events[0].channel(), ContactChannel::Email, "it stays on the event");
    // An event may come after the change: the client knows the channel that was used.
    let late = [
        CampaignEvent {
            channel: ContactChannel::Email.into(),
            ..event_at("2", &zoe, OptedIn, "2026-03-02T08:00:00Z")
        },
        event_at("3", &zoe, SpamReported, "2026-03-03T08:00:00Z"),
    ];
    tenant.happened(&campaign, &late).await;
    let text = |day: &str| format!("2026-03-{day}T08:00:00Z");
    let expected = [
        (ContactChannel::Email, ConsentState::OptedIn, text("02")),
        (ContactChannel::Sms, ConsentState::SpamReported, text("03")),
    ];
    assert_eq!(said(&tenant.consents(&zoe).await), expected);
    let sent_again = tenant.record(&campaign.id, &late).await.expect("an answer");
    assert!(
        sent_again.iter().all(|result| result.deduplicated && result.error().is_none()),
        "{sent_again:?}"
    );
    let other = CampaignEvent { channel: ContactChannel::Post.into(), ..late[0].clone() };
    let results = tenant.record(&campaign.id, &[other]).await.expect("an answer");
    refusal(&results[0]).is(tonic::Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_customer_says_reaches_every_campaign_that_runs_and_can_be_taken_back() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let [first, second] =
        [tenant.campaign_on(ContactChannel::Email).await, tenant.campaign_on(ContactChannel::Email).await];
    let post = tenant.campaign_on(ContactChannel::Post).await;
    for campaign in [&first, &second, &post] {
        tenant.assign(&campaign.id, &[&zoe]).await.expect("assigned");
    }
    let mut day = 0;
    for (kind, refusal) in [
        (OptedOut, AssignmentRefusal::OptedOut),
        (OptedIn, AssignmentRefusal::Unspecified),
        (SpamReported, AssignmentRefusal::OptedOut),
        (Delivered, AssignmentRefusal::OptedOut),
        (OptedIn, AssignmentRefusal::Unspecified),
    ] {
        day += 1;
        let time = format!("2026-03-{day:02}T08:00:00Z");
        tenant.happened(&first, &[event_at(&time, &zoe, kind, &time)]).await;
        for campaign in [&first, &second] {
            assert_eq!(tenant.refusals(campaign, false).await, [(zoe.clone(), refusal)], "{kind:?}");
            let left = usize::from(refusal == AssignmentRefusal::Unspecified);
            assert_eq!(tenant.refusals(campaign, true).await.len(), left, "{kind:?}");
            let again = tenant.assign(&campaign.id, &[&zoe]).await.expect("an answer");
            let told: Vec<_> = again.refused.iter().map(|one| (one.reason(), one.is_assigned)).collect();
            assert_eq!((again.existing_count, told.len()), (i32::from(left == 1), 1 - left), "{kind:?}");
            assert!(told.iter().all(|one| *one == (refusal, true)), "{told:?}");
        }
        assert_eq!(tenant.refusals(&post, true).await.len(), 1, "another channel");
    }
    assert_eq!(tenant.progress(&first.id, &zoe).await, AssignmentStatus::Delivered, "the furthest stage");
    assert_eq!(tenant.progress(&second.id, &zoe).await, AssignmentStatus::Assigned);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_or_deleted_is_not_sent_to_either_and_the_list_says_why() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let campaign = tenant.campaign_on(ContactChannel::Email).await;
    let mut ids = Vec::new();
    for name in ["Fine", "Blocked", "Deleted", "Opted out"] {
        ids.push(tenant.customer(name).await.id);
    }
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    tenant.assign(&campaign.id, &all).await.expect("assigned");
    let blocked =
        Customer { id: ids[1].clone(), status: CustomerStatus::Blocked.into(), ..Default::default() };
    tenant.update(blocked, &["status"]).await.expect("blocked");
    tenant.delete(&ids[2]).await.expect("deleted");
    tenant.happened(&campaign, &[event("1", &ids[3], OptedOut)]).await;
    use AssignmentRefusal as Why;
    let reasons = [Why::Unspecified, Why::CustomerBlocked, Why::CustomerNotFound, Why::OptedOut];
    let expected: Vec<_> = ids.iter().cloned().zip(reasons).collect();
    assert_eq!(tenant.refusals(&campaign, false).await, expected);
    assert_eq!(tenant.refusals(&campaign, true).await, expected[..1]);
    // Each campaign of a customer is judged by its own channel, and pages have the right size.
    let post = tenant.campaign_on(ContactChannel::Post).await;
    tenant.assign(&post.id, &[&ids[3]]).await.expect("assigned");
    let of = ListCampaignCustomersRequest { customer_id: ids[3].clone(), ..Default::default() };
    let page = tenant.assignment_page(of.clone()).await.expect("a page").campaign_customers;
    let told: Vec<_> = page.iter().map(|row| (row.campaign_id.as_str(), row.refusal())).collect();
    assert_eq!(told, [(campaign.id.as_str(), Why::OptedOut), (post.id.as_str(), Why::Unspecified)]);
    let may = ListCampaignCustomersRequest { exclude_refused: true, page_size: 1, ..of };
    let page = tenant.assignment_page(may).await.expect("a page");
    assert_eq!((page.campaign_customers.len(), page.next_page_token.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_kinds_of_events_bring_a_customer_as_far_as_the_contract_says() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let campaign = tenant.campaign_on(ContactChannel::Email).await;
    for (kind, expected) in [
        (OptedIn, AssignmentStatus::Assigned),
        (Deferred, AssignmentStatus::Sent),
        (Dropped, AssignmentStatus::Bounced),
        (SpamReported, AssignmentStatus::Assigned),
    ] {
        let customer = tenant.customer("Zoe").await.id;
        tenant.assign(&campaign.id, &[&customer]).await.expect("assigned");
        tenant.happened(&campaign, &[event(&format!("{kind:?}"), &customer, kind)]).await;
        assert_eq!(tenant.progress(&campaign.id, &customer).await, expected, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consents_are_shown_with_the_customer_listed_and_told_in_its_context() {
    let crm = Crm::start().await;
    let (tenant, stranger) = (crm.tenant(), crm.tenant());
    let (zoe, ana) = (tenant.customer("Zoe").await, tenant.customer("Ana").await.id);
    for (channel, kind) in [
        (ContactChannel::Whatsapp, OptedIn),
        (ContactChannel::Unspecified, SpamReported),
        (ContactChannel::Email, OptedOut),
    ] {
        let campaign = tenant.campaign_on(channel).await;
        let events =
            [&zoe.id, &ana].map(|id| event_at(&format!("{id} {kind:?}"), id, kind, "2026-03-01T08:00:00Z"));
        tenant.happened(&campaign, &events).await;
    }
    let since = "2026-03-01T08:00:00Z".to_owned();
    let expected = [
        (ContactChannel::Email, ConsentState::OptedOut, since.clone()),
        (ContactChannel::Whatsapp, ConsentState::OptedIn, since.clone()),
        (ContactChannel::Other, ConsentState::SpamReported, since),
    ];
    let shown = tenant.consents(&zoe.id).await;
    assert_eq!(said(&shown), expected);
    let by_slug = GetCustomerBySlugRequest { slug: zoe.slug.clone(), ..Default::default() };
    let by_slug = tenant.customers().get_customer_by_slug(by_slug).await.expect("it").into_inner();
    assert_eq!(by_slug.consents, shown);
    let event = tenant.all_events(Default::default()).await;
    let event = event.iter().find(|event| event.id == shown[0].campaign_event_id).expect("its event");
    assert_eq!((&event.customer_id, event.kind()), (&zoe.id, OptedOut));
    assert_eq!(event.campaign_id, shown[0].campaign_id);

    let all = ListConsentsRequest::default;
    let out = vec![ConsentState::OptedOut.into(), ConsentState::SpamReported.into()];
    let email = vec![ContactChannel::Email.into()];
    for (filter, count) in [
        (all(), 6),
        (ListConsentsRequest { customer_id: zoe.id.clone(), ..all() }, 3),
        (ListConsentsRequest { channels: email.clone(), ..all() }, 2),
        (ListConsentsRequest { states: out.clone(), ..all() }, 4),
        (ListConsentsRequest { channels: email, states: out, customer_id: ana.clone(), ..all() }, 1),
    ] {
        for page_size in [1, 4, 0] {
            let found = tenant.all_consents(ListConsentsRequest { page_size, ..filter.clone() }).await;
            assert_eq!(found.len(), count, "{filter:?}");
            assert!(found.is_sorted_by_key(|one| (one.customer_id.clone(), one.channel().as_str_name())));
        }
    }
    assert_eq!(stranger.all_consents(all()).await, []);

    let request = GetAiContextRequest {
        customer_id: zoe.id.clone(),
        format: ContextFormat::Markdown.into(),
        ..Default::default()
    };
    let context = tenant.context(request).await.expect("a context").markdown;
    let lines = "- Do not contact by EMAIL: opted out on 2026-03-01\n\
                 - May be contacted by WHATSAPP: opted in on 2026-03-01\n\
                 - Do not contact by OTHER: reported spam on 2026-03-01\n";
    assert!(context.contains(lines), "{context}");
}

/// The events of a case: for each the campaign, the customer, the kind and the minute.
type Story = Vec<(usize, usize, CampaignEventKind, u8)>;

/// Cases with many events at the same time, and the order in which they are sent, some of them again.
fn story() -> impl Strategy<Value = (Story, Vec<prop::sample::Index>)> {
    let kind = prop::sample::select(vec![OptedIn, OptedOut, SpamReported, Sent]);
    let event = (0..3_usize, 0..2_usize, kind, 0..4_u8);
    (prop::collection::vec(event, 1..24), prop::collection::vec(any::<prop::sample::Index>(), 48))
}

/// Sends a case's events to a new tenant, in batches of an order, all at once. Returns the states.
async fn tell(crm: &Crm, story: &Story, order: &[usize]) -> BTreeMap<(usize, ContactChannel), String> {
    let tenant = crm.tenant();
    let channels = [ContactChannel::Email, ContactChannel::Email, ContactChannel::Unspecified];
    let mut campaigns = Vec::new();
    for channel in channels {
        campaigns.push(tenant.campaign_on(channel).await);
    }
    let customers = [tenant.customer("Ana").await.id, tenant.customer("Ben").await.id];
    let mut batches: BTreeMap<(usize, usize), Vec<CampaignEvent>> = BTreeMap::new();
    for (place, number) in order.iter().enumerate() {
        let (campaign, customer, kind, minute) = story[*number];
        let id = format!("{number}");
        let event = event_at(&id, &customers[customer], kind, &format!("2026-03-01T08:{minute:02}:00Z"));
        batches.entry((place / 8, campaign)).or_default().push(event);
    }
    let calls = batches.into_iter().map(|((_, campaign), events)| {
        let (tenant, campaign) = (tenant.clone(), campaigns[campaign].clone());
        async move { tenant.happened(&campaign, &events).await }
    });
    at_once(calls.collect::<Vec<_>>()).await;
    let found = tenant.all_consents(ListConsentsRequest::default()).await;
    let events = tenant.all_events(Default::default()).await;
    let states = found.iter().map(|consent| {
        let customer = customers.iter().position(|id| *id == consent.customer_id).expect("a customer");
        let event = events.iter().find(|event| event.id == consent.campaign_event_id).expect("its event");
        let state = format!(
            "{:?} since {} by {}",
            consent.state(),
            consent.since_time.expect("a time"),
            event.event_id
        );
        ((customer, consent.channel()), state)
    });
    states.collect()
}

/// Returns the states that the contract requires.
fn expected(story: &Story) -> BTreeMap<(usize, ContactChannel), String> {
    let mut decided: BTreeMap<(usize, ContactChannel), (u8, ConsentState, usize, String)> = BTreeMap::new();
    for (number, (campaign, customer, kind, minute)) in story.iter().enumerate() {
        let state = match kind {
            OptedIn => ConsentState::OptedIn,
            OptedOut => ConsentState::OptedOut,
            SpamReported => ConsentState::SpamReported,
            _ => continue,
        };
        let channel = if *campaign == 2 { ContactChannel::Other } else { ContactChannel::Email };
        let said = (*minute, state, *campaign, format!("{number}"));
        let last = decided.entry((*customer, channel)).or_insert_with(|| said.clone());
        if said > *last {
            *last = said;
        }
    }
    let text =
        |(minute, state, _, number)| format!("{state:?} since 2026-03-01T08:{minute:02}:00Z by {number}");
    decided.into_iter().map(|(key, said)| (key, text(said))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_events_give_the_same_consents_in_whatever_order_and_however_often_they_come() {
    const CASES: usize = 12;
    let crm = Crm::start().await;
    let mut runner = TestRunner::default();
    for _ in 0..CASES {
        let (story, picks) = story().new_tree(&mut runner).expect("a story").current();
        let in_order: Vec<_> = (0..story.len()).collect();
        // Each event once, and then some of them again, in any order.
        let mut shuffled: Vec<_> = in_order.iter().rev().copied().collect();
        shuffled.extend(picks.iter().map(|pick| pick.index(story.len())));
        for (place, pick) in picks.iter().enumerate() {
            let last = shuffled.len() - 1;
            shuffled.swap(place.min(last), pick.index(last));
        }
        let expected = expected(&story);
        for order in [in_order, shuffled] {
            assert_eq!(tell(&crm, &story, &order).await, expected, "{story:?} in the order {order:?}");
        }
    }
}

/// The samples have a time only where a test needs one.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_time_is_said_when_it_is_recorded() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let zoe = tenant.customer("Zoe").await.id;
    let campaign = tenant.campaign_on(ContactChannel::Email).await;
    tenant.happened(&campaign, &[event_at("1", &zoe, OptedOut, "2026-03-01T08:00:00Z")]).await;
    tenant.happened(&campaign, &[event("2", &zoe, OptedIn)]).await;
    let [consent] = tenant.consents(&zoe).await.try_into().expect("one");
    assert_eq!(consent.state(), ConsentState::OptedIn);
    assert!(consent.since_time.expect("a time").seconds > at("2026-03-01T08:00:00Z").seconds);
}
