//! `customer_consents`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::{among, listing};
use crate::db::schema::customer_consents::{self, dsl};
use crate::db::words::Text;
use crate::db::{TenantTx, each};
use crate::error::Result;
use crate::pb::{ConsentState, ContactChannel};
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

/// The latest statement of a customer about being contacted on a channel.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = customer_consents, check_for_backend(Pg))]
pub(crate) struct Consent {
    pub(crate) customer_id: Uuid,
    pub(crate) channel: Text<ContactChannel>,
    pub(crate) state: Text<ConsentState>,
    /// The time of the event that decided.
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) campaign_id: Uuid,
    pub(crate) campaign_event_id: Uuid,
    pub(crate) updated_at: DateTime<Utc>,
}

/// The consents that a list shows. All conditions that are set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) channels: Vec<Text<ContactChannel>>,
    pub(crate) states: Vec<Text<ConsentState>>,
}

/// The end of a page: the customer and the channel of its last consent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(Uuid, Text<ContactChannel>);

impl Cursor {
    /// Returns the end of a page whose last row is `consent`.
    pub(crate) fn at(consent: &Consent) -> Self {
        Self(consent.customer_id, consent.channel)
    }
}

/// Returns the consents of these customers, in no order.
pub(crate) async fn find_each(tx: &TenantTx, customer_ids: &[Uuid]) -> Result<Vec<Consent>> {
    let consent = dsl::customer_consents
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::customer_id.eq(each::Id))
        .select(Consent::as_select());
    Ok(each::each(customer_ids, consent).load(&mut tx.connection()).await?)
}

/// Returns one page of the consents that match `filter`, and one row more if there is one.
pub(crate) async fn list(tx: &TenantTx, filter: &Filter, page: &Page<Cursor>) -> Result<Rows<Consent>> {
    let mut query = listing(
        dsl::customer_consents
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(Consent::as_select())
            .limit(page.limit()),
    );
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(dsl::customer_id.eq(customer_id));
    }
    query = among!(query, dsl::channel, filter.channels);
    query = among!(query, dsl::state, filter.states);
    let direction = Direction::Ascending;
    let query = match page.after {
        Some(Cursor(customer_id, channel)) => {
            keyset!(query, direction, dsl::customer_id, dsl::channel, after(customer_id, channel))
        }
        None => keyset!(query, direction, dsl::customer_id, dsl::channel),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}
