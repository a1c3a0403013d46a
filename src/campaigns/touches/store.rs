//! The touches: `campaign_events` that led to purchases.
//!
//! Touches are looked up when they are requested, so that events which come late count. They are in the order
//! of time, and at the same time in the order of the campaigns' ids. So the result is the same in any order of
//! recording.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::statement::statement;
use crate::error::Result;

/// The touches of the purchase `p`, which has `customer_id` and `purchased_at`: the events `e` that led to it. 90 days
/// are always the same number of hours, even if clocks change.
macro_rules! touches {
    () => {
        "SELECT e.campaign_id FROM campaign_events AS e
         WHERE e.tenant_id = :tenant AND e.customer_id = p.customer_id
             AND e.occurred_at <= p.purchased_at AND e.occurred_at >= p.purchased_at - interval '2160 hours'
             AND e.kind IN ('OPENED', 'CLICKED', 'REPLIED', 'CONVERTED')"
    };
}

/// The campaign of the first touch. The statement has the field `tenant`.
pub(crate) const FIRST: &str = concat!(touches!(), " ORDER BY e.occurred_at, e.campaign_id LIMIT 1");

/// The campaign of the last touch. The statement has the field `tenant`.
pub(crate) const LAST: &str = concat!(touches!(), " ORDER BY e.occurred_at DESC, e.campaign_id DESC LIMIT 1");

/// The campaigns of the touches before a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, QueryableByName)]
pub(crate) struct Touches {
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub(crate) first: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    pub(crate) last: Option<Uuid>,
}

/// Returns the campaigns of the first and of the last touch before each of these purchases. Each purchase is
/// given by its customer and its time.
pub(crate) async fn list_touches(tx: &TenantTx, purchases: &[(Uuid, DateTime<Utc>)]) -> Result<Vec<Touches>> {
    let (customer_ids, purchased_ats) = purchases.iter().copied().unzip();
    let list = ListTouches { tenant: tx.tenant(), customer_ids, purchased_ats };
    Ok(list.load(&mut tx.connection()).await?)
}

statement! {
    /// The statement of [`list_touches`].
    struct ListTouches {
        tenant: Uuid as SqlUuid,
        customer_ids: Vec<Uuid> as Array<SqlUuid>,
        purchased_ats: Vec<DateTime<Utc>> as Array<Timestamptz>,
    }
    "SELECT first.campaign_id AS first, last.campaign_id AS last
     FROM unnest(:customer_ids, :purchased_ats) WITH ORDINALITY AS p (customer_id, purchased_at, place)
     LEFT JOIN LATERAL (", FIRST, ") AS first ON true
     LEFT JOIN LATERAL (", LAST, ") AS last ON true
     ORDER BY p.place"
}
