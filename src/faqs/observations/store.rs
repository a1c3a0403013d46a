//! `faq_observations`.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::TenantTx;
use crate::db::fitted::{Rows, fitted};
use crate::db::schema::faq_observations::{self, dsl};
use crate::error::Result;
use crate::pb::{FaqAgreement, FaqObservationKind};
use crate::rpc::page::MAX_PAGE_BYTES;
use crate::rpc::words::Text;

/// An observation as it is stored.
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

/// Adds an observation.
pub(crate) async fn insert(tx: &TenantTx, observation: &Observation) -> Result<()> {
    diesel::insert_into(dsl::faq_observations)
        .values((dsl::tenant_id.eq(tx.tenant()), observation))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// The observation of a FAQ from this message.
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

/// The latest observations of a FAQ, the newest first, as far as [`MAX_PAGE_BYTES`] go.
pub(crate) async fn list_latest(tx: &TenantTx, faq_id: Uuid, limit: i64) -> Result<Vec<Observation>> {
    let observations = dsl::faq_observations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::faq_id.eq(faq_id))
        .order((dsl::created_at.desc(), dsl::id.desc()))
        .limit(limit)
        .select(Observation::as_select());
    Ok(Rows::of(fitted(observations, MAX_PAGE_BYTES).load(&mut tx.connection()).await?).rows)
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
