//! Rates are shares, and sums are exact.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn tally(customers: &[(Kind, i64)]) -> Tally {
    let mut tally = Tally::default();
    for (kind, count) in customers {
        tally.all.add([*kind].into_iter().collect(), *count);
    }
    tally
}

fn reached(of: Of, kinds: &[Kind], customers: i64) -> Reached {
    Reached { of, kinds: kinds.iter().copied().collect(), customers }
}

/// Returns the rates of one campaign whose customers had these kinds of events. Each number is a number of
/// customers.
fn rates(customers: &[(&[Kind], i64)]) -> Rates {
    let total = Of::Group(Group::Total);
    let rows = customers.iter().map(|(kinds, count)| reached(total, kinds, *count)).collect();
    tallies(&[], rows, vec![])[&Group::Total].rates()
}

#[test]
fn who_was_reached_is_who_it_was_delivered_to_or_else_sent_to() {
    use Kind::{Bounced, Converted, Delivered, Opened, OptedOut, Sent, SpamReported};
    let sent = rates(&[(&[Sent], 5), (&[Sent, Opened], 2), (&[Sent, Bounced], 1)]);
    assert_eq!((sent.delivery, sent.open, sent.bounce), (Some(0.0), Some(0.25), Some(0.125)));
    let delivered = rates(&[(&[Sent], 4), (&[Sent, Delivered], 2), (&[Sent, Delivered, Opened], 2)]);
    assert_eq!((delivered.delivery, delivered.open), (Some(0.5), Some(0.5)));
    let told = rates(&[(&[Delivered, Converted, OptedOut], 3), (&[Delivered, SpamReported], 1)]);
    assert_eq!((told.delivery, told.conversion), (None, Some(0.75)));
    assert_eq!((told.opt_out, told.spam), (Some(0.75), Some(0.25)));
    let unreached = rates(&[(&[Delivered, Opened], 1), (&[Opened], 1)]);
    assert_eq!(unreached.open, Some(1.0), "who opened what was not delivered is part of no rate");
}

#[test]
fn there_is_no_rate_of_nobody() {
    let Rates { delivery, open, click, reply, conversion, opt_out, spam, bounce } =
        rates(&[(&[Kind::Opened, Kind::Clicked], 2)]);
    assert_eq!([delivery, open, click, reply, conversion, opt_out, spam, bounce], [None; 8]);
}

#[test]
fn what_comes_of_a_customer_counts_on_the_day_on_which_it_was_reached() {
    let kinds = [Kind::Delivered, Kind::Opened];
    let rows = vec![
        reached(Of::Group(Group::Day(1)), &kinds[..1], 2),
        reached(Of::Group(Group::Day(2)), &kinds[1..], 1),
        reached(Of::DeliveredOn(1), &kinds, 1),
        reached(Of::DeliveredOn(1), &kinds[..1], 1),
        reached(Of::Group(Group::Total), &kinds, 1),
        reached(Of::Group(Group::Total), &kinds[..1], 1),
    ];
    let tallies = tallies(&[], rows, vec![]);
    let open = |group| tallies[&group].rates().open;
    assert_eq!([Group::Day(1), Group::Day(2), Group::Total].map(open), [Some(0.5), None, Some(0.5)]);
    assert_eq!(tallies[&Group::Day(2)].all.customers_of(Kind::Opened), 1, "it is counted where it happened");
}

#[test]
fn of_all_campaigns_a_customer_counts_once_for_each_that_reached_it() {
    let campaign = |number| Of::Group(Group::Campaign(Uuid::from_u128(number)));
    let rows = vec![
        // One campaign reports deliveries, and the other one does not.
        reached(campaign(1), &[Kind::Sent, Kind::Delivered, Kind::Opened], 1),
        reached(campaign(1), &[Kind::Sent], 7),
        reached(campaign(2), &[Kind::Sent], 3),
        reached(Of::Group(Group::Total), &[Kind::Sent, Kind::Delivered, Kind::Opened], 1),
        reached(Of::Group(Group::Total), &[Kind::Sent], 7),
    ];
    let total = &tallies(&[], rows, vec![])[&Group::Total];
    assert_eq!((total.sent.customers(), total.reached.customers(), total.all.customers()), (11, 4, 8));
    assert_eq!((total.rates().open, total.rates().delivery), (Some(0.25), Some(1.0 / 11.0)));
}

/// An event: its campaign, its customer, its kind, its day.
type Event = (u8, u8, Kind, usize);

fn events() -> impl Strategy<Value = Vec<Event>> {
    let kind = prop::sample::select(KINDS.to_vec());
    prop::collection::vec((0..3_u8, 0..6_u8, kind, 1..5_usize), 0..60)
}

/// Returns how many customers have each set of kinds among the events with the same key.
fn count<K: Ord>(events: &[Event], of: impl Fn(&Event) -> Option<K>) -> BTreeMap<(K, Vec<Kind>), i64> {
    let mut kinds: BTreeMap<(u8, K), Vec<Kind>> = BTreeMap::new();
    for event in events {
        if let Some(of) = of(event) {
            kinds.entry((event.1, of)).or_default().push(event.2);
        }
    }
    let mut counts = BTreeMap::new();
    for ((_, of), mut kinds) in kinds {
        kinds.sort_unstable_by_key(|kind| place(*kind));
        kinds.dedup();
        *counts.entry((of, kinds)).or_insert(0) += 1;
    }
    counts
}

fn rows<K: Ord>(counts: BTreeMap<(K, Vec<Kind>), i64>, of: impl Fn(K) -> Of) -> Vec<Reached> {
    counts.into_iter().map(|((key, kinds), customers)| reached(of(key), &kinds, customers)).collect()
}

/// Returns the rows of a campaign, as the statement returns them.
fn by_day(events: &[Event]) -> Vec<Reached> {
    let first = |customer: u8, kind: Kind| {
        let of = events.iter().filter(|event| (event.1, event.2) == (customer, kind));
        of.map(|event| event.3).min()
    };
    let mut all = rows(count(events, |_| Some(())), |()| Of::Group(Group::Total));
    all.extend(rows(count(events, |event| Some(event.3)), |day| Of::Group(Group::Day(day))));
    all.extend(rows(count(events, |event| first(event.1, Kind::Sent)), Of::SentOn));
    all.extend(rows(count(events, |event| first(event.1, Kind::Delivered)), Of::DeliveredOn));
    all
}

/// Returns the rows of all campaigns.
fn by_campaign(events: &[Event]) -> Vec<Reached> {
    let id = |campaign: u8| Group::Campaign(Uuid::from_u128(campaign.into()));
    let mut all = rows(count(events, |_| Some(())), |()| Of::Group(Group::Total));
    all.extend(rows(count(events, |event| Some(event.0)), |campaign| Of::Group(id(campaign))));
    all
}

proptest! {
    #[test]
    fn every_rate_is_a_share_whatever_happened(events in events()) {
        for rows in [by_day(&events), by_campaign(&events)] {
            for tally in tallies(&[], rows, vec![]).values() {
                let Rates { delivery, open, click, reply, conversion, opt_out, spam, bounce } =
                    tally.rates();
                for rate in [delivery, open, click, reply, conversion, opt_out, spam, bounce] {
                    prop_assert!(rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)), "{rate:?}");
                }
            }
        }
    }

    #[test]
    fn every_customer_of_a_cohort_is_part_of_one_day(events in events()) {
        let tallies = tallies(&[], by_day(&events), vec![]);
        let days = tallies.iter().filter(|(group, _)| matches!(group, Group::Day(_)));
        let (mut sent, mut reached) = (Cohort::default(), Cohort::default());
        for (_, tally) in days {
            sent.merge(&tally.sent);
            reached.merge(&tally.reached);
        }
        let total = &tallies[&Group::Total];
        prop_assert_eq!((sent, reached), (total.sent, total.reached));
    }
}

#[test]
fn a_cost_is_shared_by_those_who_converted_to_the_millionth() {
    let three = tally(&[(Kind::Converted, 3)]);
    assert_eq!(three.per_conversion(10_000_000), Some(3_333_333));
    assert_eq!(three.per_conversion(20_000_000), Some(6_666_667));
    assert_eq!(tally(&[(Kind::Converted, 2)]).per_conversion(1), Some(1), "half up");
    assert_eq!(Tally::default().per_conversion(10), None);
}

#[test]
fn a_conversion_in_another_system_counts_as_one_in_the_campaign_and_a_customer_once() {
    let both: Kinds = [Kind::Sent, Kind::Converted].into_iter().collect();
    let row = |kinds, customers| Reached { of: Of::Group(Group::Total), kinds, customers };
    let sent: Kinds = [Kind::Sent].into_iter().collect();
    let rows = vec![
        row(sent, 1),
        row(sent.and_elsewhere(), 1),
        row(both.and_elsewhere(), 1),
        row(Kinds::elsewhere(), 1),
    ];
    let total = &tallies(&[], rows, vec![])[&Group::Total];
    assert_eq!((total.all.converted(), total.all.customers_of(Kind::Converted)), (3, 1));
    assert_eq!(total.rates().conversion, Some(2.0 / 3.0), "who was not reached is part of no rate");
    assert_eq!(total.per_conversion(6), Some(2));
}

#[test]
fn events_add_up_and_customers_do_not() {
    let (a, b) = (Group::Campaign(Uuid::from_u128(1)), Group::Campaign(Uuid::from_u128(2)));
    let happened =
        [a, b].map(|group| Happened { group, kind: Some(Kind::Sent), events: 3, cost: i128::from(i64::MAX) });
    let (sent, both) = ([Kind::Sent], [Kind::Sent, Kind::Delivered]);
    let reached = vec![
        reached(Of::Group(a), &sent, 2),
        reached(Of::Group(b), &sent, 1),
        reached(Of::Group(b), &both, 1),
        reached(Of::Group(Group::Total), &sent, 2),
        reached(Of::Group(Group::Total), &both, 1),
    ];
    let tallies = tallies(&happened, reached, vec![]);
    let total = &tallies[&Group::Total];
    assert_eq!((total.event_count(), total.all.customers()), (6, 3));
    assert_eq!(total.cost, 2 * i128::from(i64::MAX), "beyond what a column holds");
    assert_eq!((tallies[&a].event_count(), tallies[&b].all.customers_of(Kind::Sent)), (3, 2));
    assert_eq!((tallies[&b].all.customers(), tallies[&b].all.customers_of(Kind::Delivered)), (2, 1));
}

#[test]
fn days_of_a_zone_cover_days_of_utc_and_are_whole() {
    let berlin = Zone::parse("time_zone", "Europe/Berlin").expect("a zone");
    let date = |text: &str| text.parse::<NaiveDate>().expect("a date");
    let dates = [date("2026-03-29"), date("2026-01-10")];
    let shown =
        |has_more| days(berlin, &dates, has_more).iter().map(|day| day.date.to_string()).collect::<Vec<_>>();
    assert_eq!(shown(false), ["2026-01-10", "2026-01-11", "2026-03-29", "2026-03-30"]);
    assert_eq!(shown(true), ["2026-01-11", "2026-03-29", "2026-03-30"], "the tenth began on the ninth");
    assert_eq!(days(berlin, &[], false), []);
}
