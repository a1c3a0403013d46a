//! `campaign_customers`.

mod assign;
mod list;
mod refusal;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use assign::{Assigned, Refused, assign};
pub(crate) use list::list;

use crate::db::TenantTx;
use crate::db::schema::campaign_customers::{self, dsl};
use crate::db::schema::campaigns;
use crate::error::Result;
use crate::pb::{AssignmentStatus, ContactChannel};
use crate::rpc::words::Text;

/// A customer of a campaign as it is listed.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Assignment {
    pub(crate) campaign_id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) progress: i16,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    /// Why the customer may not be sent to now: a value of `AssignmentRefusal`.
    pub(crate) refusal: Option<i16>,
}

/// Which assignments a list shows. All that is set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    /// How far they have come, values of `AssignmentStatus`; any where it is empty.
    pub(crate) progresses: Vec<i16>,
    /// Whether customers that may not be sent to now are left out.
    pub(crate) exclude_refused: bool,
}

/// A campaign with which a customer had to do.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = campaigns, check_for_backend(Pg))]
pub(crate) struct Reached {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) channel: Option<Text<ContactChannel>>,
    /// How far the customer has come, a value of `AssignmentStatus`.
    #[diesel(select_expression = campaign_customers::progress)]
    pub(crate) progress: i16,
    /// When that was learned.
    #[diesel(select_expression = campaign_customers::updated_at)]
    pub(crate) progressed_at: DateTime<Utc>,
}

/// Whose assignments a list shows, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Those of a campaign, in the order of the customers' ids; with a customer, only that one's.
    Campaign(Uuid, Option<Uuid>),
    /// Those of a customer, in the order of the campaigns' ids.
    Customer(Uuid),
}

/// Where a page ends: at this customer, or at this campaign.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(Uuid);

impl Cursor {
    /// Where a page ends when `assignment` is its last.
    pub(crate) fn at(of: Of, assignment: &Assignment) -> Self {
        match of {
            Of::Campaign(..) => Self(assignment.customer_id),
            Of::Customer(_) => Self(assignment.campaign_id),
        }
    }
}

/// How many customers a campaign is for.
pub(crate) async fn count(tx: &TenantTx, campaign_id: Uuid) -> Result<i64> {
    let count = dsl::campaign_customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::campaign_id.eq(campaign_id))
        .count()
        .get_result(&mut tx.connection())
        .await?;
    Ok(count)
}

/// Takes customers out of a campaign, as far as they are in it, and says how many were.
pub(crate) async fn delete(tx: &TenantTx, campaign_id: Uuid, customer_ids: &BTreeSet<Uuid>) -> Result<usize> {
    let deleted = diesel::delete(dsl::campaign_customers)
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::campaign_id.eq(campaign_id))
        .filter(dsl::customer_id.eq_any(customer_ids))
        .execute(&mut tx.connection())
        .await?;
    Ok(deleted)
}

/// Takes all customers out of a campaign.
pub(crate) async fn delete_of(tx: &TenantTx, campaign_id: Uuid) -> Result<()> {
    diesel::delete(dsl::campaign_customers)
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::campaign_id.eq(campaign_id))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// The campaigns that something happened of with a customer, the one that was created last first.
pub(crate) async fn list_reached(tx: &TenantTx, customer_id: Uuid, limit: i64) -> Result<Vec<Reached>> {
    let assigned: i32 = AssignmentStatus::Assigned.into();
    let reached =
        campaign_customers::table
            .inner_join(campaigns::table.on(
                campaigns::tenant_id.eq(tx.tenant()).and(campaigns::id.eq(campaign_customers::campaign_id)),
            ))
            .filter(campaign_customers::tenant_id.eq(tx.tenant()))
            .filter(campaign_customers::customer_id.eq(customer_id))
            .filter(campaign_customers::progress.gt(i16::try_from(assigned).unwrap_or_default()))
            .order(campaign_customers::campaign_id.desc())
            .limit(limit)
            .select(Reached::as_select())
            .load(&mut tx.connection())
            .await?;
    Ok(reached)
}
