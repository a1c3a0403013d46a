//! Computes the performance of campaigns from counts of events and purchases.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::store::{Bought, Group, Happened, Kinds, Of, Reached};
use crate::campaigns::events::rules::KINDS;
use crate::pb::CampaignEventKind as Kind;
use crate::rpc::money;
use crate::rpc::zones::{Period, Span, Zone};

/// The performance of a group of events and purchases.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tally {
    /// The number of events of each kind, in the order of [`KINDS`].
    pub(crate) events: [i64; KINDS.len()],
    /// The number of conversions in other systems.
    pub(crate) elsewhere: i64,
    /// The customers that had an event.
    pub(crate) all: Cohort,
    /// The customers that the campaign was sent to.
    pub(crate) sent: Cohort,
    /// The customers that the campaign reached.
    pub(crate) reached: Cohort,
    /// The cost of the events, in millionths.
    pub(crate) cost: i128,
    /// The revenue, by the code of the currency.
    pub(crate) revenues: BTreeMap<String, Revenue>,
}

/// The revenue in a currency, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Revenue {
    pub(crate) purchases: i64,
    pub(crate) customers: i64,
    pub(crate) gross: i128,
    pub(crate) refunded: i128,
}

/// The number of different customers, and for each kind, the number of those with an event of this kind.
/// Customers are only ever added together with their kinds, so no share is more than the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cohort {
    customers: i64,
    customers_of: [i64; KINDS.len()],
    converted: i64,
}

impl Cohort {
    /// Returns the number of customers.
    pub(crate) fn customers(&self) -> i64 {
        self.customers
    }

    /// Returns how many of them had an event of a kind.
    pub(crate) fn customers_of(&self, kind: Kind) -> i64 {
        place(kind).map_or(0, |place| self.customers_of[place])
    }

    /// Returns how many of them converted, in the campaign or in another system.
    pub(crate) fn converted(&self) -> i64 {
        self.converted
    }

    /// Adds customers that had events of these kinds.
    fn add(&mut self, kinds: Kinds, customers: i64) {
        self.customers += customers;
        if kinds.has_conversion() {
            self.converted += customers;
        }
        for (kind, count) in KINDS.into_iter().zip(&mut self.customers_of) {
            if kinds.has(kind) {
                *count += customers;
            }
        }
    }

    /// Adds all customers of another cohort.
    fn merge(&mut self, other: &Self) {
        self.customers += other.customers;
        self.converted += other.converted;
        for (count, more) in self.customers_of.iter_mut().zip(other.customers_of) {
            *count += more;
        }
    }

    /// Returns the share of the customers that had an event of a kind; `None` without customers.
    fn share(&self, kind: Kind) -> Option<f64> {
        self.share_of(self.customers_of(kind))
    }

    /// Returns the share of a number of the customers; `None` without customers.
    fn share_of(&self, part: i64) -> Option<f64> {
        // Counts of customers are far below 2^53, above which doubles skip integers.
        (self.customers > 0).then(|| part as f64 / self.customers as f64)
    }
}

/// Shares of cohorts; `None` for the share of an empty cohort.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) delivery: Option<f64>,
    pub(crate) open: Option<f64>,
    pub(crate) click: Option<f64>,
    pub(crate) reply: Option<f64>,
    pub(crate) conversion: Option<f64>,
    pub(crate) opt_out: Option<f64>,
    pub(crate) spam: Option<f64>,
    pub(crate) bounce: Option<f64>,
}

impl Tally {
    /// Returns the number of events.
    pub(crate) fn event_count(&self) -> i64 {
        self.events.iter().sum()
    }

    /// Returns the rates of the contract.
    pub(crate) fn rates(&self) -> Rates {
        Rates {
            delivery: self.sent.share(Kind::Delivered),
            open: self.reached.share(Kind::Opened),
            click: self.reached.share(Kind::Clicked),
            reply: self.reached.share(Kind::Replied),
            conversion: self.reached.share_of(self.reached.converted()),
            opt_out: self.reached.share(Kind::OptedOut),
            spam: self.reached.share(Kind::SpamReported),
            bounce: self.sent.share(Kind::Bounced),
        }
    }

    /// Returns the cost of each customer that converted, of a total cost.
    pub(crate) fn per_conversion(&self, cost: i128) -> Option<i128> {
        money::part(cost, 1, self.all.converted().into())
    }
}

/// Returns the index of a kind in the order of the contract.
fn place(kind: Kind) -> Option<usize> {
    KINDS.iter().position(|other| *other == kind)
}

/// Combines the counts, by group. There is always a total.
pub(crate) fn tallies(
    happened: &[Happened],
    reached: Vec<Reached>,
    bought: Vec<Bought>,
) -> HashMap<Group, Tally> {
    let mut tallies = HashMap::from([(Group::Total, Tally::default())]);
    for Happened { group, kind, events, cost } in happened {
        // Different groups have different events, but may share customers.
        for group in [*group, Group::Total] {
            let count = |tally: &mut Tally| match kind.map(place) {
                None => tally.elsewhere += events,
                Some(Some(place)) => tally.events[place] += events,
                // A kind of a newer version.
                Some(None) => {}
            };
            let tally = tallies.entry(group).or_default();
            count(tally);
            tally.cost += cost;
        }
    }
    for Reached { of, kinds, customers } in &reached {
        if let Of::Group(group) = of {
            tallies.entry(*group).or_default().all.add(*kinds, *customers);
        }
    }
    for (group, (sent, reached)) in cohorts(&reached) {
        let tally = tallies.entry(group).or_default();
        (tally.sent, tally.reached) = (sent, reached);
    }
    for Bought { group, currency, purchases, customers, gross, refunded } in bought {
        let revenue = Revenue { purchases, customers, gross, refunded };
        tallies.entry(group).or_default().revenues.insert(currency, revenue);
    }
    tallies
}

/// Returns the cohorts of groups: the customers that the campaign was sent to, and those that it reached.
///
/// A campaign has reached the customers that it was delivered to, or if it has no delivery, those that it was
/// sent to. A day counts the customers that were sent to or reached for the first time on it, with all their
/// events. So each customer is part of one day. In the total of all campaigns, a customer counts once for each
/// campaign that reached it: the cohorts of several campaigns are added up.
fn cohorts(reached: &[Reached]) -> HashMap<Group, (Cohort, Cohort)> {
    let by_campaign = reached.iter().any(|row| matches!(row.of, Of::Group(Group::Campaign(_))));
    let delivering = delivering(reached);
    let mut cohorts: HashMap<Group, (Cohort, Cohort)> = HashMap::new();
    for Reached { of, kinds, customers } in reached {
        let (group, whole, is_sent, is_delivered) = match *of {
            Of::Group(Group::Day(_)) => continue,
            Of::Group(Group::Total) if by_campaign => continue,
            Of::Group(group) => (group, group, kinds.has(Kind::Sent), kinds.has(Kind::Delivered)),
            Of::SentOn(day) => (Group::Day(day), Group::Total, true, false),
            Of::DeliveredOn(day) => (Group::Day(day), Group::Total, false, true),
        };
        let is_reached = if delivering.contains(&whole) { is_delivered } else { is_sent };
        let (sent, reached) = cohorts.entry(group).or_default();
        if is_sent {
            sent.add(*kinds, *customers);
        }
        if is_reached {
            reached.add(*kinds, *customers);
        }
    }
    if by_campaign {
        let (mut sent, mut reached) = (Cohort::default(), Cohort::default());
        for (of_sent, of_reached) in cohorts.values() {
            sent.merge(of_sent);
            reached.merge(of_reached);
        }
        cohorts.insert(Group::Total, (sent, reached));
    }
    cohorts
}

/// Returns the groups that have a delivery, without days: for a day it matters whether its campaign has one.
fn delivering(reached: &[Reached]) -> HashSet<Group> {
    let delivered = reached.iter().filter(|row| row.kinds.has(Kind::Delivered));
    let groups = delivered.filter_map(|row| match row.of {
        Of::Group(Group::Day(_)) | Of::SentOn(_) | Of::DeliveredOn(_) => None,
        Of::Group(group) => Some(group),
    });
    groups.collect()
}

/// Returns the days of a zone that overlap these days of UTC, in order. If `has_more`, there are more before
/// the first of `dates`. Then a day that overlaps them too is left out, because it would not be whole.
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
mod tests;
