//! The statement that lists events: the events of a page are found in an index alone, and only these events are
//! read. The index has all the columns of the conditions. So rare kinds are found without reading the events of
//! frequent kinds.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::campaigns::events::model::{Cursor, Event, Filter};
use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted_by_name};
use crate::db::keyset::Direction;
use crate::db::statement::{Joined, Number, Sql, fragment, joined, statement};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::CampaignEventKind;
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

/// Returns one page of the events that match `filter`, and one row more if there is one.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    direction: Direction,
    page: &Page<Cursor>,
) -> Result<Rows<Event>> {
    let (order, final_order) = match direction {
        Direction::Ascending => ("p.occurred_at, p.id", "page.occurred_at, page.id"),
        Direction::Descending => ("p.occurred_at DESC, p.id DESC", "page.occurred_at DESC, page.id DESC"),
    };
    let list = List {
        tenant: tx.tenant(),
        conditions: joined(" ", conditions(filter, direction, page.after)),
        order: Sql(order),
        limit: Number(page.limit()),
        final_order: Sql(final_order),
    };
    Ok(Rows::of_named(fitted_by_name(list, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

statement! {
    /// The statement of [`list`]. Its text depends on the conditions that are set, and a connection would keep a
    /// statement for each combination. The limit, which is in the text, prevents that.
    struct List<'f> {
        tenant: Uuid as SqlUuid,
        conditions: Joined<Condition<'f>>,
        order: Sql,
        limit: Number,
        final_order: Sql,
    }
    "SELECT
         e.id, e.campaign_id, e.event_id, e.customer_id, e.kind, e.occurred_at, e.conversation_id, e.cost_micros,
         e.created_at, e.channel, e.bounce_kind, e.detail, e.url, k.currency
     FROM (
         SELECT p.id, p.occurred_at FROM campaign_events AS p
         WHERE p.tenant_id = :tenant :conditions
         ORDER BY :order
         LIMIT :limit
     ) AS page
     CROSS JOIN LATERAL (
         SELECT x.* FROM campaign_events AS x WHERE x.tenant_id = :tenant AND x.id = page.id OFFSET 0
     ) AS e
     CROSS JOIN LATERAL (
         SELECT x.currency FROM campaigns AS x WHERE x.tenant_id = :tenant AND x.id = e.campaign_id OFFSET 0
     ) AS k
     ORDER BY :final_order"
}

fragment! {
    /// A condition on the events `p`.
    enum Condition<'f> {
        Campaign { campaign_id: Uuid as SqlUuid } => "AND p.campaign_id = :campaign_id",
        Customer { customer_id: Uuid as SqlUuid } => "AND p.customer_id = :customer_id",
        Kinds { kinds: &'f [Text<CampaignEventKind>] as Array<SqlText> } => "AND p.kind = ANY (:kinds)",
        From { from: DateTime<Utc> as Timestamptz } => "AND p.occurred_at >= :from",
        Until { until: DateTime<Utc> as Timestamptz } => "AND p.occurred_at < :until",
        After { time: DateTime<Utc> as Timestamptz, id: Uuid as SqlUuid } =>
            "AND (p.occurred_at, p.id) > (:time, :id)",
        Before { time: DateTime<Utc> as Timestamptz, id: Uuid as SqlUuid } =>
            "AND (p.occurred_at, p.id) < (:time, :id)",
    }
}

/// Returns the conditions that are set, and that the events come after the page before.
fn conditions(
    filter: &Filter,
    direction: Direction,
    after: Option<Cursor>,
) -> impl Iterator<Item = Condition<'_>> {
    let Filter { campaign_id, customer_id, kinds, occurred_from, occurred_until } = filter;
    let conditions = [
        campaign_id.map(|campaign_id| Condition::Campaign { campaign_id }),
        customer_id.map(|customer_id| Condition::Customer { customer_id }),
        (!kinds.is_empty()).then_some(Condition::Kinds { kinds }),
        occurred_from.map(|from| Condition::From { from }),
        occurred_until.map(|until| Condition::Until { until }),
        after.map(|Cursor(time, id)| match direction {
            Direction::Ascending => Condition::After { time, id },
            Direction::Descending => Condition::Before { time, id },
        }),
    ];
    conditions.into_iter().flatten()
}
