//! What counts of events and purchases come to.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::store::{Bought, Group, Happened, Kinds, Of, Reached};
use crate::campaigns::events::rules::KINDS;
use crate::pb::CampaignEventKind as Kind;
use crate::rpc::money;
use crate::rpc::zones::{Period, Span, Zone};

/// What came of a group of events and purchases.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tally {
    /// For each kind, in the order of [`KINDS`], how many events there are.
    pub(crate) events: [i64; KINDS.len()],
    /// How many conversions in other systems there are.
    pub(crate) elsewhere: i64,
    /// The customers that had an event.
    pub(crate) all: Cohort,
    /// The customers that it was sent to.
    pub(crate) sent: Cohort,
    /// The customers that it reached.
    pub(crate) reached: Cohort,
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

/// Different customers: how many there are, and for each kind, how many of these had an event of it. Customers
/// are only ever added together with what they had, so no share is more than the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cohort {
    customers: i64,
    customers_of: [i64; KINDS.len()],
    converted: i64,
}

impl Cohort {
    /// How many customers there are.
    pub(crate) fn customers(&self) -> i64 {
        self.customers
    }

    /// How many of them had an event of a kind.
    pub(crate) fn customers_of(&self, kind: Kind) -> i64 {
        place(kind).map_or(0, |place| self.customers_of[place])
    }

    /// How many of them converted, in the campaign or in another system.
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

    /// Adds all customers of another one.
    fn merge(&mut self, other: &Self) {
        self.customers += other.customers;
        self.converted += other.converted;
        for (count, more) in self.customers_of.iter_mut().zip(other.customers_of) {
            *count += more;
        }
    }

    /// The share of the customers that had an event of a kind. Returns `None` without customers.
    fn share(&self, kind: Kind) -> Option<f64> {
        self.share_of(self.customers_of(kind))
    }

    /// The share of so many of the customers. Returns `None` without customers.
    fn share_of(&self, part: i64) -> Option<f64> {
        // Counts of customers are far below 2^53, from where on doubles leave numbers out.
        (self.customers > 0).then(|| part as f64 / self.customers as f64)
    }
}

/// Shares of cohorts; none where they would be shares of nobody.
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
    /// How many events there are.
    pub(crate) fn event_count(&self) -> i64 {
        self.events.iter().sum()
    }

    /// The rates of the contract.
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

    /// What each customer that converted cost, of a cost in all.
    pub(crate) fn per_conversion(&self, cost: i128) -> Option<i128> {
        money::part(cost, 1, self.all.converted().into())
    }
}

/// The place of a kind in the order of the contract.
fn place(kind: Kind) -> Option<usize> {
    KINDS.iter().position(|other| *other == kind)
}

/// Puts together what was counted, by group. There always is a total.
pub(crate) fn tallies(
    happened: &[Happened],
    reached: Vec<Reached>,
    bought: Vec<Bought>,
) -> HashMap<Group, Tally> {
    let mut tallies = HashMap::from([(Group::Total, Tally::default())]);
    for Happened { group, kind, events, cost } in happened {
        // Different groups have different events, but not different customers.
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

/// The cohorts of groups: whom it was sent to, and whom it reached.
///
/// A campaign has reached those that it was delivered to, or where it has no delivery, those that it was sent
/// to. On a day those count that were sent to or reached on it for the first time, with all that they did, so
/// that each customer is part of one day. Of all campaigns together a customer counts once for each that
/// reached it: cohorts of several campaigns are added up.
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

/// The groups that have a delivery, but for days: what counts on a day is whether its campaign has one.
fn delivering(reached: &[Reached]) -> HashSet<Group> {
    let delivered = reached.iter().filter(|row| row.kinds.has(Kind::Delivered));
    let groups = delivered.filter_map(|row| match row.of {
        Of::Group(Group::Day(_)) | Of::SentOn(_) | Of::DeliveredOn(_) => None,
        Of::Group(group) => Some(group),
    });
    groups.collect()
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
mod tests;
