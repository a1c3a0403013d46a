//! `campaign_customers`.

mod assign;
mod list;
mod refusal;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, SmallInt};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use assign::{Assigned, Refused, assign};
pub(crate) use list::list;

use crate::db::TenantTx;
use crate::db::schema::campaign_customers::{self, dsl};
use crate::db::schema::campaigns;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{AssignmentStatus, ContactChannel};

/// A customer of a campaign, in a list.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[diesel(table_name = campaign_customers, check_for_backend(Pg))]
pub(crate) struct Assignment {
    pub(crate) campaign_id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) progress: i16,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    /// The reason why the customer may not be sent to now: a value of `AssignmentRefusal`.
    #[diesel(sql_type = Nullable<SmallInt>)]
    pub(crate) refusal: Option<i16>,
}

/// The assignments that a list shows. All conditions that are set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    /// The accepted values of `AssignmentStatus`; any value if empty.
    pub(crate) progresses: Vec<i16>,
    /// Whether customers that may not be sent to now are left out.
    pub(crate) exclude_refused: bool,
}

/// A campaign that reached a customer.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = campaigns, check_for_backend(Pg))]
pub(crate) struct Reached {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) channel: Option<Text<ContactChannel>>,
    /// How far the customer has come: a value of `AssignmentStatus`.
    #[diesel(select_expression = campaign_customers::progress)]
    pub(crate) progress: i16,
    /// The time at which that was recorded.
    #[diesel(select_expression = campaign_customers::updated_at)]
    pub(crate) progressed_at: DateTime<Utc>,
}

/// The campaign or the customer whose assignments a list shows, and the order of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The assignments of a campaign, in the order of the customers' ids; with a customer, only that one's.
    Campaign(Uuid, Option<Uuid>),
    /// The assignments of a customer, in the order of the campaigns' ids.
    Customer(Uuid),
}

/// The end of a page: the last customer, or the last campaign.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `assignment`.
    pub(crate) fn at(of: Of, assignment: &Assignment) -> Self {
        match of {
            Of::Campaign(..) => Self(assignment.customer_id),
            Of::Customer(_) => Self(assignment.campaign_id),
        }
    }
}

/// Returns the number of customers of a campaign.
pub(crate) async fn count(tx: &TenantTx, campaign_id: Uuid) -> Result<i64> {
    let count = dsl::campaign_customers
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::campaign_id.eq(campaign_id))
        .count()
        .get_result(&mut tx.connection())
        .await?;
    Ok(count)
}

/// Deletes customers from a campaign. Returns how many were in it.
pub(crate) async fn delete(tx: &TenantTx, campaign_id: Uuid, customer_ids: &BTreeSet<Uuid>) -> Result<usize> {
    let deleted = diesel::delete(dsl::campaign_customers)
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::campaign_id.eq(campaign_id))
        .filter(dsl::customer_id.eq_any(customer_ids))
        .execute(&mut tx.connection())
        .await?;
    Ok(deleted)
}

/// Deletes all customers from a campaign.
pub(crate) async fn delete_of(tx: &TenantTx, campaign_id: Uuid) -> Result<()> {
    diesel::delete(dsl::campaign_customers)
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::campaign_id.eq(campaign_id))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the campaigns with events of a customer, the one that was created last first.
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
