//! What counts of events and purchases come to.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::store::{Bought, Group, Happened, Reached};
use crate::campaigns::events::rules::KINDS;
use crate::pb::CampaignEventKind as Kind;
use crate::rpc::money;
use crate::rpc::zones::{Period, Span, Zone};

/// What came of a group of events and purchases.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tally {
    /// For each kind, in the order of [`KINDS`], how many events there are.
    pub(crate) events: [i64; KINDS.len()],
    /// And how many different customers had one.
    pub(crate) customers_of: [i64; KINDS.len()],
    /// How many different customers had an event.
    pub(crate) customers: i64,
    /// What the events cost, in millionths.
    pub(crate) cost: i128,
    /// What was bought, by the code of the currency.
    pub(crate) revenues: BTreeMap<String, Revenue>,
}

/// What was bought in a currency, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Revenue {
    pub(crate) purchases: i64,
    pub(crate) customers: i64,
    pub(crate) gross: i128,
    pub(crate) refunded: i128,
}

/// Shares of customers; none where they would be shares of nobody.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) delivery: Option<f64>,
    pub(crate) open: Option<f64>,
    pub(crate) click: Option<f64>,
    pub(crate) reply: Option<f64>,
    pub(crate) conversion: Option<f64>,
    pub(crate) opt_out: Option<f64>,
    pub(crate) bounce: Option<f64>,
}

impl Tally {
    /// How many events there are.
    pub(crate) fn event_count(&self) -> i64 {
        self.events.iter().sum()
    }

    /// How many different customers had an event of a kind.
    fn customers_of(&self, kind: Kind) -> i64 {
        place(kind).map_or(0, |place| self.customers_of[place])
    }

    /// The rates of the contract. Those whom a campaign has reached are those that it was delivered to, or
    /// where nobody reported a delivery, those that it was sent to.
    pub(crate) fn rates(&self) -> Rates {
        let sent = self.customers_of(Kind::Sent);
        let delivered = self.customers_of(Kind::Delivered);
        let reached = if delivered > 0 { delivered } else { sent };
        let of_reached = |kind| rate(self.customers_of(kind), reached);
        Rates {
            delivery: rate(delivered, sent),
            open: of_reached(Kind::Opened),
            click: of_reached(Kind::Clicked),
            reply: of_reached(Kind::Replied),
            conversion: of_reached(Kind::Converted),
            opt_out: of_reached(Kind::OptedOut),
            bounce: rate(self.customers_of(Kind::Bounced), sent),
        }
    }

    /// What each customer that converted cost, of a cost in all.
    pub(crate) fn per_conversion(&self, cost: i128) -> Option<i128> {
        money::part(cost, 1, self.customers_of(Kind::Converted).into())
    }
}

/// The place of a kind in the order of the contract.
fn place(kind: Kind) -> Option<usize> {
    KINDS.iter().position(|other| *other == kind)
}

fn rate(share: i64, of: i64) -> Option<f64> {
    // Counts of customers are far below 2^53, from where on doubles leave numbers out.
    (of > 0).then(|| share as f64 / of as f64)
}

/// Puts together what was counted, by group. There always is a total.
pub(crate) fn tallies(
    happened: &[Happened],
    reached: Vec<Reached>,
    bought: Vec<Bought>,
) -> HashMap<Group, Tally> {
    let mut tallies = HashMap::from([(Group::Total, Tally::default())]);
    for Happened { group, kind, events, cost } in happened {
        let Some(place) = place(*kind) else { continue };
        // Different groups have different events, but not different customers.
        for group in [*group, Group::Total] {
            let tally = tallies.entry(group).or_default();
            tally.events[place] += events;
            tally.cost += cost;
        }
    }
    for Reached { group, kinds, customers } in reached {
        let tally = tallies.entry(group).or_default();
        tally.customers += customers;
        for (place, count) in tally.customers_of.iter_mut().enumerate() {
            if kinds & (1 << place) != 0 {
                *count += customers;
            }
        }
    }
    for Bought { group, currency, purchases, customers, gross, refunded } in bought {
        let revenue = Revenue { purchases, customers, gross, refunded };
        tallies.entry(group).or_default().revenues.insert(currency, revenue);
    }
    tallies
}

/// The days of a zone that have a part of these days of UTC in them, in order. Where there were more before
/// the first of `dates`, a day that has a part of them too is left out: it would not be whole.
pub(crate) fn days(zone: Zone, dates: &[NaiveDate], has_more: bool) -> Vec<Span> {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let mut days: BTreeMap<DateTime<Utc>, Span> = BTreeMap::new();
    for from in dates.iter().copied().map(midnight) {
        let Some(until) = from.checked_add_signed(TimeDelta::days(1)) else { continue };
        days.extend(zone.spans(Period::Day, from, until).into_iter().map(|day| (day.from, day)));
    }
    let first = dates.iter().min().copied().map(midnight).filter(|_| has_more);
    days.into_values().filter(|day| first.is_none_or(|first| day.from >= first)).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tally(customers: &[(Kind, i64)]) -> Tally {
        let mut tally = Tally::default();
        for (kind, count) in customers {
            tally.customers_of[place(*kind).expect("a kind")] = *count;
        }
        tally
    }

    #[test]
    fn who_was_reached_is_who_it_was_delivered_to_or_else_sent_to() {
        let rates = tally(&[(Kind::Sent, 8), (Kind::Opened, 2), (Kind::Bounced, 1)]).rates();
        assert_eq!((rates.delivery, rates.open, rates.bounce), (Some(0.0), Some(0.25), Some(0.125)));
        let rates = tally(&[(Kind::Sent, 8), (Kind::Delivered, 4), (Kind::Opened, 2)]).rates();
        assert_eq!((rates.delivery, rates.open), (Some(0.5), Some(0.5)));
        let rates = tally(&[(Kind::Delivered, 4), (Kind::Converted, 3), (Kind::OptedOut, 4)]).rates();
        assert_eq!((rates.delivery, rates.conversion, rates.opt_out), (None, Some(0.75), Some(1.0)));
    }

    #[test]
    fn there_is_no_rate_of_nobody() {
        let Rates { delivery, open, click, reply, conversion, opt_out, bounce } =
            tally(&[(Kind::Opened, 2), (Kind::Clicked, 2)]).rates();
        assert_eq!([delivery, open, click, reply, conversion, opt_out, bounce], [None; 7]);
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
    fn events_add_up_and_customers_do_not() {
        let (a, b) = (Group::Campaign(Uuid::from_u128(1)), Group::Campaign(Uuid::from_u128(2)));
        let happened =
            [a, b].map(|group| Happened { group, kind: Kind::Sent, events: 3, cost: i128::from(i64::MAX) });
        // SENT alone, and SENT and DELIVERED.
        let reached = |group, kinds, customers| Reached { group, kinds, customers };
        let reached = vec![
            reached(a, 0b1, 2),
            reached(b, 0b1, 1),
            reached(b, 0b101, 1),
            reached(Group::Total, 0b1, 2),
            reached(Group::Total, 0b101, 1),
        ];
        let tallies = tallies(&happened, reached, vec![]);
        let total = &tallies[&Group::Total];
        assert_eq!((total.event_count(), total.customers), (6, 3));
        assert_eq!(total.cost, 2 * i128::from(i64::MAX), "beyond what a column holds");
        assert_eq!((tallies[&a].event_count(), tallies[&b].customers_of(Kind::Sent)), (3, 2));
        assert_eq!((tallies[&b].customers, tallies[&b].customers_of(Kind::Delivered)), (2, 1));
    }

    #[test]
    fn days_of_a_zone_cover_days_of_utc_and_are_whole() {
        let berlin = Zone::parse("time_zone", "Europe/Berlin").expect("a zone");
        let date = |text: &str| text.parse::<NaiveDate>().expect("a date");
        let dates = [date("2026-03-29"), date("2026-01-10")];
        let shown = |has_more| {
            days(berlin, &dates, has_more).iter().map(|day| day.date.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(shown(false), ["2026-01-10", "2026-01-11", "2026-03-29", "2026-03-30"]);
        assert_eq!(shown(true), ["2026-01-11", "2026-03-29", "2026-03-30"], "the tenth began on the ninth");
        assert_eq!(days(berlin, &[], false), []);
    }
}
