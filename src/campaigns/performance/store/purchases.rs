//! The paid purchases of a scope.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Nullable, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Group, Scope, group, sum};
use crate::campaigns::touches::paid::push_paid;
use crate::campaigns::touches::store as touches;
use crate::db::TenantTx;
use crate::db::literal::push_of_tenant;
use crate::error::Result;
use crate::pb::CampaignAttribution;

/// The purchases of a group in one currency, in millionths.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bought {
    pub(crate) group: Group,
    pub(crate) currency: String,
    pub(crate) purchases: i64,
    pub(crate) customers: i64,
    pub(crate) gross: i128,
    pub(crate) refunded: i128,
}

/// Returns the purchases of a scope, by group and currency, and in total by currency.
pub(crate) async fn list_bought(tx: &TenantTx, scope: &Scope) -> Result<Vec<Bought>> {
    type Row = (Option<i32>, Option<Uuid>, String, i64, i64, Option<String>, Option<String>);
    let list = ListBought { tenant: tx.tenant(), scope };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let bought = rows.into_iter().map(|(day, campaign, currency, purchases, customers, gross, refunded)| {
        Ok(Bought {
            group: group(day, campaign),
            currency,
            purchases,
            customers,
            gross: sum(gross.as_deref())?,
            refunded: sum(refunded.as_deref())?,
        })
    });
    bought.collect()
}

impl Scope {
    /// Writes the FROM clause of the scope's purchases `p`, each of the campaign `t.campaign_id`.
    pub(super) fn push_purchases<'b>(
        &'b self,
        out: &mut AstPass<'_, 'b, Pg>,
        tenant: &'b Uuid,
    ) -> QueryResult<()> {
        out.push_sql(" FROM purchases AS p CROSS JOIN LATERAL (");
        let touch = match self.attribution {
            CampaignAttribution::FirstTouch => touches::FIRST,
            CampaignAttribution::LastTouch => touches::LAST,
            CampaignAttribution::Unspecified | CampaignAttribution::Direct => "SELECT p.campaign_id",
        };
        push_of_tenant(out, touch, tenant)?;
        out.push_sql(") AS t WHERE p.tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(tenant)?;
        out.push_sql(" AND ");
        push_paid(out, "p.status");
        match &self.campaign_id {
            Some(campaign_id) => {
                out.push_sql(" AND t.campaign_id = ");
                out.push_bind_param::<SqlUuid, _>(campaign_id)?;
                self.push_touched(out, (tenant, campaign_id))?;
            }
            None => out.push_sql(" AND t.campaign_id IS NOT NULL"),
        }
        self.push_window(out, "p.purchased_at")
    }

    /// Writes a condition that limits the search for touches to customers with events of the campaign. It is
    /// only needed if purchases are attributed by touch.
    fn push_touched<'b>(
        &self,
        out: &mut AstPass<'_, 'b, Pg>,
        (tenant, campaign_id): (&'b Uuid, &'b Uuid),
    ) -> QueryResult<()> {
        if !matches!(self.attribution, CampaignAttribution::FirstTouch | CampaignAttribution::LastTouch) {
            return Ok(());
        }
        out.push_sql(
            " AND p.customer_id IN (SELECT x.customer_id FROM campaign_events AS x WHERE x.tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(tenant)?;
        out.push_sql(" AND x.campaign_id = ");
        out.push_bind_param::<SqlUuid, _>(campaign_id)?;
        out.push_sql(")");
        Ok(())
    }
}

/// The statement of [`list_bought`].
struct ListBought<'s> {
    tenant: Uuid,
    scope: &'s Scope,
}

/// The SQL depends on the scope, so the type alone does not name the statement.
impl QueryId for ListBought<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListBought<'_> {
    type SqlType =
        (Nullable<Integer>, Nullable<SqlUuid>, SqlText, BigInt, BigInt, Nullable<SqlText>, Nullable<SqlText>);
}

impl QueryFragment<Pg> for ListBought<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        const SUMS: &str = ", s.currency, sum(s.purchases)::bigint, count(*), sum(s.gross)::text, \
                            sum(s.refunded)::text FROM ";
        out.push_sql("WITH bought AS MATERIALIZED (SELECT ");
        self.scope.push_group(&mut out, "p.purchased_at", "t.campaign_id")?;
        out.push_sql(
            " AS grp, p.currency, p.customer_id, count(*) AS purchases, sum(p.amount_micros) AS gross, \
             sum(p.refunded_micros) AS refunded",
        );
        self.scope.push_purchases(&mut out, &self.tenant)?;
        out.push_sql(" GROUP BY 1, 2, 3) SELECT ");
        out.push_sql(self.scope.columns());
        out.push_sql(SUMS);
        out.push_sql("bought AS s GROUP BY s.grp, s.currency UNION ALL SELECT NULL::integer, NULL::uuid");
        out.push_sql(SUMS);
        out.push_sql(
            "(SELECT x.currency, x.customer_id, sum(x.purchases) AS purchases, sum(x.gross) AS gross, \
             sum(x.refunded) AS refunded FROM bought AS x GROUP BY 1, 2) AS s GROUP BY s.currency",
        );
        Ok(())
    }
}
