//! The statement of `conversations` that a context is made from.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::conversations::analyses::store::Analysis;
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::error::Result;
use crate::pb::{Channel, EntryPoint, Outcome};
use crate::rpc::words::Text;

/// What a context says of a conversation.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Brief {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) entry_point: Option<Text<EntryPoint>>,
    pub(crate) channel: Text<Channel>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) last_sequence: i64,
    pub(crate) latest_analysis: Option<Json<Analysis>>,
    pub(crate) outcome: Option<Text<Outcome>>,
    pub(crate) outcome_notes: String,
    pub(crate) follow_up_due_at: Option<DateTime<Utc>>,
    pub(crate) follow_up_notes: String,
}

/// The conversations of a customer, as far as a context looks at them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Briefs {
    /// Those that began last, the newest first.
    pub(crate) newest: Vec<Brief>,
    /// Those after which something is still to be done, the next due first.
    pub(crate) to_do: Vec<Brief>,
    /// The one that was asked for, whosever it is.
    pub(crate) named: Option<Brief>,
    /// How many there are besides the newest, as far as they are counted.
    pub(crate) older: i64,
}

/// How many conversations are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) newest: i64,
    pub(crate) to_do: i64,
    /// How many older ones are counted.
    pub(crate) older: i64,
}

/// The conversations of a customer, and one that is asked for by its id.
pub(crate) async fn list_briefs(
    tx: &TenantTx,
    customer_id: Uuid,
    named: Option<Uuid>,
    limits: Limits,
) -> Result<Briefs> {
    let list = ListBriefs { tenant: tx.tenant(), customer_id, named: named.unwrap_or_default(), limits };
    let rows: Vec<(i32, i64, Brief)> = list.load(&mut tx.connection()).await?;
    let mut briefs = Briefs::default();
    for (part, older, brief) in rows {
        briefs.older = older;
        match part {
            NEWEST => briefs.newest.push(brief),
            TO_DO => briefs.to_do.push(brief),
            _ => briefs.named = Some(brief),
        }
    }
    // A union has no order.
    briefs.newest.sort_by_key(|brief| std::cmp::Reverse((brief.started_at, brief.id)));
    briefs.to_do.sort_by_key(|brief| (brief.follow_up_due_at.is_none(), brief.follow_up_due_at, brief.id));
    Ok(briefs)
}

/// The parts of the statement.
const NEWEST: i32 = 1;
const TO_DO: i32 = 2;
const NAMED: i32 = 3;

/// The statement of [`list_briefs`]: one, because each costs more than these rows.
#[derive(QueryId)]
struct ListBriefs {
    tenant: Uuid,
    customer_id: Uuid,
    /// Nil for none: no conversation has that id.
    named: Uuid,
    limits: Limits,
}

impl Query for ListBriefs {
    type SqlType = (
        Integer,
        BigInt,
        (
            SqlUuid,
            SqlUuid,
            Nullable<SqlText>,
            SqlText,
            Timestamptz,
            BigInt,
            Nullable<Jsonb>,
            Nullable<SqlText>,
            SqlText,
            Nullable<Timestamptz>,
            SqlText,
        ),
    );
}

impl QueryFragment<Pg> for ListBriefs {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Limits { newest, to_do, older } = &self.limits;
        out.push_sql("SELECT part, (SELECT count(*) FROM (SELECT 1 ");
        self.walk_customer(&mut out)?;
        out.push_sql(" ORDER BY started_at DESC, id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(older)?;
        out.push_sql(" OFFSET ");
        out.push_bind_param::<BigInt, _>(newest)?;
        out.push_sql(
            ") AS o), id, customer_id, entry_point, channel, started_at, last_sequence, latest_analysis, \
             outcome, outcome_notes, follow_up_due_at, follow_up_notes FROM ((SELECT ",
        );
        out.push_bind_param::<Integer, _>(&NEWEST)?;
        out.push_sql("::int AS part, * ");
        self.walk_customer(&mut out)?;
        out.push_sql(" ORDER BY started_at DESC, id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(newest)?;
        out.push_sql(") UNION ALL (SELECT ");
        out.push_bind_param::<Integer, _>(&TO_DO)?;
        out.push_sql("::int, * ");
        self.walk_customer(&mut out)?;
        out.push_sql(" AND follow_up_needed ORDER BY follow_up_due_at, id LIMIT ");
        out.push_bind_param::<BigInt, _>(to_do)?;
        out.push_sql(") UNION ALL (SELECT ");
        out.push_bind_param::<Integer, _>(&NAMED)?;
        out.push_sql("::int, * FROM conversations WHERE tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND id = ");
        out.push_bind_param::<SqlUuid, _>(&self.named)?;
        out.push_sql(")) AS c");
        Ok(())
    }
}

impl ListBriefs {
    fn walk_customer<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("FROM conversations WHERE tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND customer_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)
    }
}
