//! The touches: `campaign_events` that led to purchases.
//!
//! Touches are looked up when they are requested, so that events which come late count. They are in the order
//! of time, and at the same time in the order of the campaigns' ids. So the result is the same in any order of
//! recording.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::literal::push_of_tenant;
use crate::error::Result;

/// Returns a SELECT for [`push_of_tenant`]: the `campaign_id` of the first touch, in this order, that led to
/// the purchase `p`. The purchase has `customer_id` and `purchased_at`. 90 days are always the same number of
/// hours, even if clocks change.
macro_rules! touch {
    ($order:literal) => {
        concat!(
            "SELECT e.campaign_id FROM campaign_events AS e \
             WHERE e.tenant_id = {tenant} AND e.customer_id = p.customer_id \
             AND e.occurred_at <= p.purchased_at AND e.occurred_at >= p.purchased_at - interval '2160 hours' \
             AND e.kind IN ('OPENED', 'CLICKED', 'REPLIED', 'CONVERTED') ORDER BY ",
            $order,
            " LIMIT 1"
        )
    };
}

/// The first touch.
pub(crate) const FIRST: &str = touch!("e.occurred_at, e.campaign_id");

/// The last touch.
pub(crate) const LAST: &str = touch!("e.occurred_at DESC, e.campaign_id DESC");

/// Returns the campaigns of the first and of the last touch before each of these purchases. Each purchase is
/// given by its customer and its time.
pub(crate) async fn list_touches(
    tx: &TenantTx,
    purchases: &[(Uuid, DateTime<Utc>)],
) -> Result<Vec<(Option<Uuid>, Option<Uuid>)>> {
    let (customer_ids, purchased_ats) = purchases.iter().copied().unzip();
    let list = ListTouches { tenant: tx.tenant(), customer_ids, purchased_ats };
    Ok(list.load(&mut tx.connection()).await?)
}

/// The statement of [`list_touches`].
#[derive(QueryId)]
struct ListTouches {
    tenant: Uuid,
    customer_ids: Vec<Uuid>,
    purchased_ats: Vec<DateTime<Utc>>,
}

impl Query for ListTouches {
    type SqlType = (Nullable<SqlUuid>, Nullable<SqlUuid>);
}

impl QueryFragment<Pg> for ListTouches {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT first.campaign_id, last.campaign_id FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.customer_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.purchased_ats)?;
        out.push_sql(") WITH ORDINALITY AS p (customer_id, purchased_at, place) LEFT JOIN LATERAL (");
        push_of_tenant(&mut out, FIRST, &self.tenant)?;
        out.push_sql(") AS first ON true LEFT JOIN LATERAL (");
        push_of_tenant(&mut out, LAST, &self.tenant)?;
        out.push_sql(") AS last ON true ORDER BY p.place");
        Ok(())
    }
}
