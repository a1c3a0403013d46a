//! What engagement reads of `campaigns` and `campaign_customers`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::each;
use crate::db::schema::{campaign_customers, campaigns};
use crate::error::Result;
use crate::pb::{AssignmentStatus, CampaignChannel};
use crate::rpc::words::Text;

/// A campaign with which a customer had to do.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = campaigns, check_for_backend(Pg))]
pub(crate) struct Reached {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) channel: Option<Text<CampaignChannel>>,
    /// How far the customer has come, a value of `AssignmentStatus`.
    #[diesel(select_expression = campaign_customers::progress)]
    pub(crate) progress: i16,
    /// When that was learned.
    #[diesel(select_expression = campaign_customers::updated_at)]
    pub(crate) progressed_at: DateTime<Utc>,
}

/// Which of these campaigns are there. They stay until the transaction ends.
pub(crate) async fn hold_campaigns(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let held = campaigns::table
        .filter(campaigns::tenant_id.eq(tx.tenant()))
        .filter(campaigns::id.eq(each::Id))
        .select(campaigns::id)
        .for_key_share();
    Ok(each::each(ids, held).load(&mut tx.connection()).await?)
}

/// The campaigns that something happened of with a customer, the one that was created last first.
pub(crate) async fn list_reached(tx: &TenantTx, customer_id: Uuid, limit: i64) -> Result<Vec<Reached>> {
    let assigned: i32 = AssignmentStatus::Assigned.into();
    let reached = campaign_customers::table
        .inner_join(
            campaigns::table.on(campaigns::tenant_id
                .eq(campaign_customers::tenant_id)
                .and(campaigns::id.eq(campaign_customers::campaign_id))),
        )
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
