//! The statements that count customers in a window.

use chrono::{DateTime, Utc};
use diesel::dsl::count;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Integer, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::dashboard::rules::Window;
use crate::db::TenantTx;
use crate::db::schema::conversations::dsl;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::ConversationEnvironment;

/// Returns how many customers were created in each period of a window, without deleted ones. `starts` has the
/// times at which the periods begin. Each count has the number of its period, from 1; a period without
/// customers is left out.
pub(super) async fn count_created(
    tx: &TenantTx,
    window: Window,
    starts: &[DateTime<Utc>],
) -> Result<Vec<(i32, i64)>> {
    let count = CountCreated { tenant: tx.tenant(), window, starts: starts.to_vec() };
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

/// The statement of [`count_created`]. It is written by hand, because diesel has no `width_bucket`.
#[derive(QueryId)]
struct CountCreated {
    tenant: Uuid,
    window: Window,
    starts: Vec<DateTime<Utc>>,
}

impl Query for CountCreated {
    type SqlType = (Integer, BigInt);
}

impl QueryFragment<Pg> for CountCreated {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT width_bucket(created_at, ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.starts)?;
        out.push_sql(") AS period, count(*) FROM customers WHERE deleted_at IS NULL AND tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND created_at >= ");
        out.push_bind_param::<Timestamptz, _>(&self.window.from)?;
        out.push_sql(" AND created_at < ");
        out.push_bind_param::<Timestamptz, _>(&self.window.until)?;
        out.push_sql(" GROUP BY period");
        Ok(())
    }
}
