//! The paid purchases of a scope.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text as SqlText, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::scope::{GroupOf, Purchases};
use super::{Group, Scope, group, sum};
use crate::db::TenantTx;
use crate::db::statement::{Sql, statement};
use crate::error::Result;

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
    let list = ListBought {
        group: scope.purchase_group(),
        purchases: scope.purchases(tx),
        group_columns: scope.group_columns(),
    };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let bought = rows.into_iter().map(|row| {
        let Row { day, campaign_id, currency, purchases, customers, gross, refunded } = row;
        Ok(Bought {
            group: group(day, campaign_id),
            currency,
            purchases,
            customers,
            gross: sum(gross.as_deref())?,
            refunded: sum(refunded.as_deref())?,
        })
    });
    bought.collect()
}

/// A row of the statement of [`list_bought`].
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Integer>)]
    day: Option<i32>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    campaign_id: Option<Uuid>,
    #[diesel(sql_type = SqlText)]
    currency: String,
    #[diesel(sql_type = BigInt)]
    purchases: i64,
    #[diesel(sql_type = BigInt)]
    customers: i64,
    #[diesel(sql_type = Nullable<SqlText>)]
    gross: Option<String>,
    #[diesel(sql_type = Nullable<SqlText>)]
    refunded: Option<String>,
}

statement! {
    /// The statement of [`list_bought`].
    struct ListBought<'s> {
        group: GroupOf<'s>,
        purchases: Purchases,
        group_columns: Sql,
    }
    "WITH bought AS MATERIALIZED (
         SELECT
             :group AS grp, p.currency, p.customer_id, count(*) AS purchases,
             sum(p.amount_micros) AS gross, sum(p.refunded_micros) AS refunded
         FROM :purchases
         GROUP BY 1, 2, 3
     )
     SELECT
         :group_columns, s.currency, sum(s.purchases)::bigint AS purchases, count(*) AS customers,
         sum(s.gross)::text AS gross, sum(s.refunded)::text AS refunded
     FROM bought AS s
     GROUP BY s.grp, s.currency
     UNION ALL
     SELECT
         NULL::integer, NULL::uuid, s.currency, sum(s.purchases)::bigint, count(*),
         sum(s.gross)::text, sum(s.refunded)::text
     FROM (
         SELECT
             x.currency, x.customer_id, sum(x.purchases) AS purchases,
             sum(x.gross) AS gross, sum(x.refunded) AS refunded
         FROM bought AS x
         GROUP BY 1, 2
     ) AS s
     GROUP BY s.currency"
}
