//! The statement that lists assignments. It is written by hand: for each assignment of a page it looks up
//! whether the customer may be sent to now.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Nullable, SmallInt, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Assignment, Cursor, Filter, Of, refusal};
use crate::db::TenantTx;
use crate::db::literal::push_of_tenant;
use crate::error::Result;
use crate::rpc::Page;

/// Returns one page of the assignments that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    of: Of,
    filter: &Filter,
    page: &Page<Cursor>,
) -> Result<Vec<Assignment>> {
    let after = page.after.map(|Cursor(after)| after);
    let list = List { tenant: tx.tenant(), of, filter, after, limit: page.limit() };
    Ok(list.load(&mut tx.connection()).await?)
}

/// The statement of [`list`].
struct List<'f> {
    tenant: Uuid,
    of: Of,
    filter: &'f Filter,
    after: Option<Uuid>,
    limit: i64,
}

/// The SQL depends on the conditions that are set. A connection would keep a statement for each combination.
impl QueryId for List<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for List<'_> {
    type SqlType = (SqlUuid, SqlUuid, SmallInt, Timestamptz, Timestamptz, Nullable<SmallInt>);
}

/// The join that looks up the channel of the campaign of an assignment `a`.
const CHANNEL: &str = " CROSS JOIN LATERAL (SELECT x.channel FROM campaigns AS x \
                       WHERE x.tenant_id = {tenant} AND x.id = a.campaign_id OFFSET 0) AS campaign";

impl QueryFragment<Pg> for List<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql(
            "SELECT j.campaign_id, j.customer_id, j.progress, j.created_at, j.updated_at, j.refusal FROM ",
        );
        out.push_sql("(SELECT a.*, ");
        refusal::push_case(&mut out);
        out.push_sql(" AS refusal FROM ");
        // If no customer is left out, only the assignments of the page are judged.
        if self.filter.exclude_refused {
            out.push_sql("campaign_customers AS a");
        } else {
            out.push_sql("(SELECT a.* FROM campaign_customers AS a");
            self.push_page(&mut out, "a")?;
            out.push_sql(") AS a");
        }
        push_of_tenant(&mut out, CHANNEL, &self.tenant)?;
        refusal::push_lookups(&mut out, &self.tenant, ("a.customer_id", "campaign.channel"))?;
        if self.filter.exclude_refused {
            self.push_conditions(&mut out)?;
        }
        out.push_sql(") AS j");
        if self.filter.exclude_refused {
            out.push_sql(" WHERE j.refusal IS NULL");
        }
        self.push_order(&mut out, "j")
    }
}

impl List<'_> {
    /// Writes the conditions on the assignments `a`.
    fn push_conditions<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(" WHERE a.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        let (campaign_id, customer_id) = match &self.of {
            Of::Campaign(campaign_id, customer_id) => (Some(campaign_id), customer_id.as_ref()),
            Of::Customer(customer_id) => (None, Some(customer_id)),
        };
        if let Some(campaign_id) = campaign_id {
            out.push_sql(" AND a.campaign_id = ");
            out.push_bind_param::<SqlUuid, _>(campaign_id)?;
        }
        if let Some(customer_id) = customer_id {
            out.push_sql(" AND a.customer_id = ");
            out.push_bind_param::<SqlUuid, _>(customer_id)?;
        }
        // A single value is compared with `=`. An index that continues in the list's order can then answer.
        if let [progress] = self.filter.progresses.as_slice() {
            out.push_sql(" AND a.progress = ");
            out.push_bind_param::<SmallInt, _>(progress)?;
        } else if !self.filter.progresses.is_empty() {
            out.push_sql(" AND a.progress = ANY(");
            out.push_bind_param::<Array<SmallInt>, _>(&self.filter.progresses)?;
            out.push_sql(")");
        }
        if let Some(after) = &self.after {
            out.push_sql(&format!(" AND a.{} > ", self.key()));
            out.push_bind_param::<SqlUuid, _>(after)?;
        }
        Ok(())
    }

    /// Writes the conditions on the assignments `a`, with the order and the limit of the page.
    fn push_page<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>, of: &str) -> QueryResult<()> {
        self.push_conditions(out)?;
        self.push_order(out, of)
    }

    /// Writes the order and the limit.
    fn push_order<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>, of: &str) -> QueryResult<()> {
        // The limit is text: a plan for any limit expects a tenth of the rows, and reads all of them.
        out.push_sql(&format!(" ORDER BY {of}.{} LIMIT {}", self.key(), self.limit));
        Ok(())
    }

    /// Returns the column that orders the list.
    fn key(&self) -> &'static str {
        match self.of {
            Of::Campaign(..) => "customer_id",
            Of::Customer(_) => "campaign_id",
        }
    }
}
