//! The statements that list assignments. For each assignment of a page they look up whether the customer may be sent
//! to now.

use diesel::sql_types::{Array, SmallInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::refusal::{REFUSAL, lookups};
use super::{Assignment, Cursor, Filter, Of};
use crate::db::TenantTx;
use crate::db::statement::{Joined, Number, Sql, fragment, joined, statement};
use crate::error::Result;
use crate::rpc::Page;

/// Returns one page of the assignments that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    of: Of,
    filter: &Filter,
    page: &Page<Cursor>,
) -> Result<Vec<Assignment>> {
    let key = Sql(match of {
        Of::Campaign(..) => "customer_id",
        Of::Customer(_) => "campaign_id",
    });
    let (tenant, limit) = (tx.tenant(), Number(page.limit()));
    let conditions = joined(" ", conditions(of, filter, key, page.after));
    let assignments = if filter.exclude_refused {
        ListAccepted { tenant, conditions, key, limit }.load(&mut tx.connection()).await?
    } else {
        ListAll { tenant, conditions, key, limit }.load(&mut tx.connection()).await?
    };
    Ok(assignments)
}

statement! {
    /// The statement of [`list`] if no customer is left out: only the assignments of the page are judged.
    ///
    /// The text of this one and of [`ListAccepted`] depends on the conditions that are set, and a connection would
    /// keep a statement for each combination. The limit, which is in the text, prevents that.
    struct ListAll<'f> {
        tenant: Uuid as SqlUuid,
        conditions: Joined<Condition<'f>>,
        key: Sql,
        limit: Number,
    }
    "SELECT j.campaign_id, j.customer_id, j.progress, j.created_at, j.updated_at, j.refusal
     FROM (
         SELECT a.*, ", REFUSAL, " AS refusal
         FROM (
             SELECT a.* FROM campaign_customers AS a
             WHERE a.tenant_id = :tenant :conditions
             ORDER BY a.:key
             LIMIT :limit
         ) AS a", CHANNEL, lookups!("a.customer_id", "campaign.channel"), "
     ) AS j
     ORDER BY j.:key
     LIMIT :limit"
}

statement! {
    /// The statement of [`list`] without the customers that may not be sent to.
    struct ListAccepted<'f> {
        tenant: Uuid as SqlUuid,
        conditions: Joined<Condition<'f>>,
        key: Sql,
        limit: Number,
    }
    "SELECT j.campaign_id, j.customer_id, j.progress, j.created_at, j.updated_at, j.refusal
     FROM (
         SELECT a.*, ", REFUSAL, " AS refusal
         FROM campaign_customers AS a", CHANNEL, lookups!("a.customer_id", "campaign.channel"), "
         WHERE a.tenant_id = :tenant :conditions
     ) AS j
     WHERE j.refusal IS NULL
     ORDER BY j.:key
     LIMIT :limit"
}

/// The join that looks up the channel of the campaign of an assignment `a`.
const CHANNEL: &str = "
     CROSS JOIN LATERAL (
         SELECT x.channel FROM campaigns AS x WHERE x.tenant_id = :tenant AND x.id = a.campaign_id OFFSET 0
     ) AS campaign";

fragment! {
    /// A condition on the assignments `a`.
    enum Condition<'f> {
        Campaign { campaign_id: Uuid as SqlUuid } => "AND a.campaign_id = :campaign_id",
        Customer { customer_id: Uuid as SqlUuid } => "AND a.customer_id = :customer_id",
        /// A single value is compared with `=`. An index that continues in the list's order can then answer.
        Progress { progress: i16 as SmallInt } => "AND a.progress = :progress",
        Progresses { progresses: &'f [i16] as Array<SmallInt> } => "AND a.progress = ANY (:progresses)",
        After { key: Sql, after: Uuid as SqlUuid } => "AND a.:key > :after",
    }
}

/// Returns the conditions that are set, and that the assignments come after the page before.
fn conditions(
    of: Of,
    filter: &Filter,
    key: Sql,
    after: Option<Cursor>,
) -> impl Iterator<Item = Condition<'_>> {
    let (campaign_id, customer_id) = match of {
        Of::Campaign(campaign_id, customer_id) => (Some(campaign_id), customer_id),
        Of::Customer(customer_id) => (None, Some(customer_id)),
    };
    let progress = match filter.progresses.as_slice() {
        [] => None,
        [progress] => Some(Condition::Progress { progress: *progress }),
        progresses => Some(Condition::Progresses { progresses }),
    };
    let conditions = [
        campaign_id.map(|campaign_id| Condition::Campaign { campaign_id }),
        customer_id.map(|customer_id| Condition::Customer { customer_id }),
        progress,
        after.map(|Cursor(after)| Condition::After { key, after }),
    ];
    conditions.into_iter().flatten()
}
