//! The rows of a scope, as parts of statements. Their SQL depends on the scope.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::Scope;
use crate::campaigns::touches::paid::IsPaid;
use crate::campaigns::touches::store as touches;
use crate::db::TenantTx;
use crate::db::statement::{Joined, Sql, fragment, joined};
use crate::pb::CampaignAttribution;

impl Scope {
    /// Returns the columns of the group `s.grp`.
    pub(super) fn group_columns(&self) -> Sql {
        Sql(match self.campaign_id {
            Some(_) => "s.grp AS day, NULL::uuid AS campaign_id",
            None => "NULL::integer AS day, s.grp AS campaign_id",
        })
    }

    /// Returns the group of an event `e`.
    pub(super) fn event_group(&self) -> GroupOf<'_> {
        self.group("e.occurred_at", "e.campaign_id")
    }

    /// Returns the group of a conversion `i`.
    pub(super) fn conversion_group(&self) -> GroupOf<'_> {
        self.group("i.occurred_at", "i.campaign_id")
    }

    /// Returns the group of a purchase `p`, which is of the campaign `t.campaign_id`.
    pub(super) fn purchase_group(&self) -> GroupOf<'_> {
        self.group("p.purchased_at", "t.campaign_id")
    }

    /// Returns the expression by which rows are grouped: the column of the time, or that of the campaign.
    fn group(&self, time: &'static str, campaign: &'static str) -> GroupOf<'_> {
        match self.campaign_id {
            Some(_) => GroupOf::Day { time: Sql(time), days: &self.days },
            None => GroupOf::Campaign { campaign: Sql(campaign) },
        }
    }

    /// Returns the scope's events `e`.
    pub(super) fn events(&self, tx: &TenantTx) -> Events {
        let campaign = self.campaign_id.map(|campaign_id| OfCampaign { campaign_id });
        Events { tenant: tx.tenant(), campaign: joined(" ", campaign), window: self.window("e.occurred_at") }
    }

    /// Returns the scope's conversions `i` in other systems.
    pub(super) fn conversions(&self, tx: &TenantTx) -> Conversions {
        Conversions {
            tenant: tx.tenant(),
            campaign: Campaign::new(self.campaign_id),
            window: self.window("i.occurred_at"),
        }
    }

    /// Returns the scope's purchases `p`, each of the campaign `t.campaign_id`.
    pub(super) fn purchases(&self, tx: &TenantTx) -> Purchases {
        let tenant = tx.tenant();
        let (touch, is_touched) = match self.attribution {
            CampaignAttribution::FirstTouch => (Touch::First { tenant }, true),
            CampaignAttribution::LastTouch => (Touch::Last { tenant }, true),
            CampaignAttribution::Unspecified | CampaignAttribution::Direct => (Touch::Direct, false),
        };
        let touched = self.campaign_id.filter(|_| is_touched);
        Purchases {
            tenant,
            touch,
            is_paid: IsPaid {},
            campaign: Campaign::new(self.campaign_id),
            touched: joined(" ", touched.map(|campaign_id| Touched { tenant, campaign_id })),
            window: self.window("p.purchased_at"),
        }
    }

    /// Returns the conditions that a time is in the window.
    fn window(&self, time: &'static str) -> Joined<Bound> {
        let from = self.from.map(|from| Bound::From { time: Sql(time), from });
        let until = self.until.map(|until| Bound::Until { time: Sql(time), until });
        joined(" ", [from, until].into_iter().flatten())
    }
}

fragment! {
    /// The group of a row.
    pub(super) enum GroupOf<'s> {
        Day { time: Sql, days: &'s [DateTime<Utc>] as Array<Timestamptz> } => "width_bucket(:time, :days)",
        Campaign { campaign: Sql } => ":campaign",
    }
}

fragment! {
    /// The events `e` of a scope.
    pub(super) struct Events {
        tenant: Uuid as SqlUuid,
        campaign: Joined<OfCampaign>,
        window: Joined<Bound>,
    }
    "campaign_events AS e WHERE e.tenant_id = :tenant :campaign :window"
}

fragment! {
    /// The condition that an event is of the campaign.
    pub(super) struct OfCampaign {
        campaign_id: Uuid as SqlUuid,
    }
    "AND e.campaign_id = :campaign_id"
}

fragment! {
    /// The conversions `i` of a scope in other systems.
    pub(super) struct Conversions {
        tenant: Uuid as SqlUuid,
        campaign: Campaign,
        window: Joined<Bound>,
    }
    "interest_events AS i
     WHERE i.tenant_id = :tenant AND i.kind = 'CONVERTED' AND i.campaign_id :campaign :window"
}

fragment! {
    /// The purchases `p` of a scope.
    pub(super) struct Purchases {
        tenant: Uuid as SqlUuid,
        touch: Touch,
        is_paid: IsPaid,
        campaign: Campaign,
        touched: Joined<Touched>,
        window: Joined<Bound>,
    }
    "purchases AS p
     CROSS JOIN LATERAL (:touch) AS t
     WHERE p.tenant_id = :tenant AND p.status :is_paid AND t.campaign_id :campaign :touched :window"
}

fragment! {
    /// The campaign of a purchase `p`.
    pub(super) enum Touch {
        First { tenant: Uuid as SqlUuid } => touches::FIRST,
        Last { tenant: Uuid as SqlUuid } => touches::LAST,
        Direct => "SELECT p.campaign_id",
    }
}

fragment! {
    /// The condition that a customer has events of the campaign. It limits the search for touches, and is only
    /// needed if purchases are attributed by touch.
    pub(super) struct Touched {
        tenant: Uuid as SqlUuid,
        campaign_id: Uuid as SqlUuid,
    }
    "AND p.customer_id IN (
         SELECT x.customer_id FROM campaign_events AS x
         WHERE x.tenant_id = :tenant AND x.campaign_id = :campaign_id
     )"
}

fragment! {
    /// The end of a condition, after the id of a campaign.
    pub(super) enum Campaign {
        Is { campaign_id: Uuid as SqlUuid } => "= :campaign_id",
        Any => "IS NOT NULL",
    }
}

impl Campaign {
    fn new(campaign_id: Option<Uuid>) -> Self {
        campaign_id.map_or(Self::Any, |campaign_id| Self::Is { campaign_id })
    }
}

fragment! {
    /// A bound of the window.
    pub(super) enum Bound {
        From { time: Sql, from: DateTime<Utc> as Timestamptz } => "AND :time >= :from",
        Until { time: Sql, until: DateTime<Utc> as Timestamptz } => "AND :time < :until",
    }
}

#[cfg(test)]
mod tests {
    use crate::contract::Word;
    use crate::pb::InterestKind;

    #[test]
    fn a_conversion_has_the_word_of_the_statement() {
        assert_eq!(InterestKind::Converted.word(), "CONVERTED");
    }
}
