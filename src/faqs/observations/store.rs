//! `faq_observations`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted};
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::listing;
use crate::db::schema::faq_observations::{self, dsl};
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{FaqAgreement, FaqObservationKind};
use crate::rpc::Page;
use crate::rpc::page::MAX_PAGE_BYTES;

/// A row of `faq_observations`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = faq_observations, check_for_backend(Pg))]
pub(crate) struct Observation {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) faq_id: Uuid,
    pub(crate) kind: Text<FaqObservationKind>,
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) agreement: Option<Text<FaqAgreement>>,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) message_id: Option<Uuid>,
    pub(crate) confidence: Option<f64>,
    pub(crate) observed_by: String,
    pub(crate) created_at: DateTime<Utc>,
}

/// The end of a page: the time at which its last observation was recorded, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page whose last row is `observation`.
    pub(crate) fn at(observation: &Observation) -> Self {
        Self(observation.created_at, observation.id)
    }
}

/// Inserts an observation.
pub(crate) async fn insert(tx: &TenantTx, observation: &Observation) -> Result<()> {
    diesel::insert_into(dsl::faq_observations)
        .values((dsl::tenant_id.eq(tx.tenant()), observation))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the observation of a FAQ from this message.
pub(crate) async fn find_by_message(
    tx: &TenantTx,
    faq_id: Uuid,
    message_id: Uuid,
    kind: Text<FaqObservationKind>,
) -> Result<Option<Observation>> {
    let observation = dsl::faq_observations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::faq_id.eq(faq_id))
        .filter(dsl::message_id.eq(message_id))
        .filter(dsl::kind.eq(kind))
        .select(Observation::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(observation)
}

/// Returns the observation with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Observation>> {
    let observation = dsl::faq_observations
        .find((tx.tenant(), id))
        .select(Observation::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(observation)
}

/// Returns one page of the observations of a FAQ, the newest first, and one row more if there is one.
pub(crate) async fn list(tx: &TenantTx, faq_id: Uuid, page: &Page<Cursor>) -> Result<Rows<Observation>> {
    let query = listing(
        dsl::faq_observations
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .filter(dsl::faq_id.eq(faq_id))
            .select(Observation::as_select())
            .limit(page.limit()),
    );
    let direction = Direction::Descending;
    let query = match page.after {
        Some(Cursor(time, id)) => keyset!(query, direction, dsl::created_at, dsl::id, after(time, id)),
        None => keyset!(query, direction, dsl::created_at, dsl::id),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

/// Deletes the observations of a FAQ.
pub(crate) async fn delete_of(tx: &TenantTx, faq_id: Uuid) -> Result<()> {
    diesel::delete(dsl::faq_observations)
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::faq_id.eq(faq_id))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}
