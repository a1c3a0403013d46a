//! The statements that count customers in a window.

use chrono::{DateTime, Utc};
use diesel::dsl::count;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::dashboard::rules::Window;
use crate::db::TenantTx;
use crate::db::schema::conversations::dsl;
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::ConversationEnvironment;

/// Returns how many customers were created in each period of a window, without deleted ones. `starts` has the
/// times at which the periods begin. A period without customers is left out.
pub(super) async fn count_created(
    tx: &TenantTx,
    window: Window,
    starts: &[DateTime<Utc>],
) -> Result<Vec<Created>> {
    let Window { from, until } = window;
    let count = CountCreated { tenant: tx.tenant(), from, until, starts };
    Ok(count.load(&mut tx.connection()).await?)
}

/// Returns how many different customers had a conversation that began in a window.
pub(super) async fn count_active(tx: &TenantTx, window: Window) -> Result<i64> {
    let active = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::started_at.ge(window.from))
        .filter(dsl::started_at.lt(window.until))
        .filter(dsl::environment.eq(Text(ConversationEnvironment::Live)))
        .select(count(dsl::customer_id).aggregate_distinct())
        .get_result(&mut tx.connection())
        .await?;
    Ok(active)
}

/// How many customers were created in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub(super) struct Created {
    /// The number of the period, from 1.
    #[diesel(sql_type = Integer)]
    pub(super) period: i32,
    #[diesel(sql_type = BigInt)]
    pub(super) customers: i64,
}

statement! {
    /// The statement of [`count_created`].
    struct CountCreated<'s> {
        tenant: Uuid as SqlUuid,
        from: DateTime<Utc> as Timestamptz,
        until: DateTime<Utc> as Timestamptz,
        starts: &'s [DateTime<Utc>] as Array<Timestamptz>,
    }
    "SELECT width_bucket(created_at, :starts) AS period, count(*) AS customers
     FROM customers
     WHERE deleted_at IS NULL AND tenant_id = :tenant AND created_at >= :from AND created_at < :until
     GROUP BY period"
}
