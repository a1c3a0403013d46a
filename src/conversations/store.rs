//! `conversations`.

pub(crate) mod analysed;
pub(crate) mod briefs;
pub(crate) mod positions;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::analysed::Analysed;
use super::analyses::store::Analysis;
use crate::db::TenantTx;
use crate::db::each;
use crate::db::fitted::{Rows, fitted};
use crate::db::json::Json;
use crate::db::keyset::{Direction, keyset};
use crate::db::listing::{among, listing};
use crate::db::literal::literal;
use crate::db::schema::conversations::{self, dsl};
use crate::db::shown::{shown, shown_or};
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::{Error, OnConstraint, Result};
use crate::pb::{
    ContactChannel, ConversationEnvironment, ConversationOutcome, ConversationStatus, EntryPoint,
    HandoffReason, Modality, PresenterKind,
};
use crate::rpc::Page;
use crate::rpc::etag::Etag;
use crate::rpc::page::MAX_PAGE_BYTES;

literal! {
    /// The condition of the index of sessions. It is literal, so that a plan for any value can use the index.
    HasNotEnded: Bool = "(status NOT IN ('ENDED', 'ABANDONED'))"
}

/// A row of `conversations`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = conversations, check_for_backend(Pg), treat_none_as_null = true)]
pub(crate) struct Conversation {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) session_id: String,
    pub(crate) entry_point: Option<Text<EntryPoint>>,
    pub(crate) contact_channel: Option<Text<ContactChannel>>,
    pub(crate) modality: Text<Modality>,
    pub(crate) environment: Text<ConversationEnvironment>,
    pub(crate) presenter_kind: Text<PresenterKind>,
    pub(crate) presenter_id: String,
    pub(crate) presenter_name: String,
    pub(crate) presenter_persona: String,
    pub(crate) status: Text<ConversationStatus>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) last_sequence: i64,
    pub(crate) last_message_at: Option<DateTime<Utc>>,
    pub(crate) latest_analysis: Option<Json<Analysis>>,
    pub(crate) outcome: Option<Text<ConversationOutcome>>,
    pub(crate) outcome_notes: String,
    pub(crate) handoff_reason: Option<Text<HandoffReason>>,
    pub(crate) follow_up_needed: bool,
    pub(crate) follow_up_due_at: Option<DateTime<Utc>>,
    pub(crate) follow_up_notes: String,
    pub(crate) metadata: serde_json::Value,
    pub(crate) change_count: i64,
    pub(crate) own_change: i64,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
}

impl Conversation {
    /// Returns the etag of its present state.
    pub(crate) fn etag(&self) -> Etag {
        Etag::of(self.id, self.revision, self.updated_at)
    }
}

/// The columns of a conversation that are needed to add messages.
#[derive(Debug, Clone, Copy, PartialEq, Queryable, Selectable)]
#[diesel(table_name = conversations, check_for_backend(Pg))]
pub(crate) struct Head {
    pub(crate) id: Uuid,
    pub(crate) status: Text<ConversationStatus>,
    pub(crate) last_sequence: i64,
    pub(crate) change_count: i64,
}

/// The conversations that a list shows. All conditions that are set must hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) session_id: Option<String>,
    pub(crate) statuses: Vec<Text<ConversationStatus>>,
    pub(crate) entry_points: Vec<Text<EntryPoint>>,
    pub(crate) environments: Vec<Text<ConversationEnvironment>>,
    pub(crate) presenter_kinds: Vec<Text<PresenterKind>>,
    pub(crate) presenter_id: Option<String>,
    pub(crate) outcomes: Vec<Text<ConversationOutcome>>,
    pub(crate) follow_up_due_from: Option<DateTime<Utc>>,
    pub(crate) follow_up_due_until: Option<DateTime<Utc>>,
    pub(crate) started_from: Option<DateTime<Utc>>,
    pub(crate) started_until: Option<DateTime<Utc>>,
    pub(crate) modalities: Vec<Text<Modality>>,
    pub(crate) analysed: Analysed,
}

/// The order of a list. The id decides between equal times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderKey {
    StartedAt,
    UpdatedAt,
}

/// The end of a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor(DateTime<Utc>, Uuid);

impl Cursor {
    /// Returns the end of a page that is ordered by `key` and whose last row is `conversation`.
    pub(crate) fn at(key: OrderKey, conversation: &Conversation) -> Self {
        match key {
            OrderKey::StartedAt => Self(conversation.started_at, conversation.id),
            OrderKey::UpdatedAt => Self(conversation.updated_at, conversation.id),
        }
    }
}

/// Inserts a conversation, unless its session has one that has not ended. Returns whether it was inserted.
pub(crate) async fn insert(tx: &TenantTx, conversation: &Conversation) -> Result<bool> {
    let inserted = diesel::insert_into(dsl::conversations)
        .values((dsl::tenant_id.eq(tx.tenant()), conversation))
        .on_conflict_do_nothing()
        .execute(&mut tx.connection())
        .await?;
    Ok(inserted == 1)
}

/// Returns the conversation with this id.
pub(crate) async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<Conversation>> {
    let conversation = dsl::conversations
        .find((tx.tenant(), id))
        .select(Conversation::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(conversation)
}

/// Returns the customer of the conversation with this id.
pub(crate) async fn find_customer_id(tx: &TenantTx, id: Uuid) -> Result<Option<Uuid>> {
    let customer_id = dsl::conversations
        .find((tx.tenant(), id))
        .select(dsl::customer_id)
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(customer_id)
}

/// Returns the ids of existing conversations among `ids`, each with the id of its customer.
pub(crate) async fn list_customer_ids(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<(Uuid, Uuid)>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let customer_id = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select((dsl::id, dsl::customer_id));
    Ok(each::each(ids, customer_id).load(&mut tx.connection()).await?)
}

/// Returns the conversation of this session that has not ended.
pub(crate) async fn find_open_by_session(tx: &TenantTx, session_id: &str) -> Result<Option<Conversation>> {
    let conversation = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::session_id.eq(session_id))
        .filter(HasNotEnded)
        .select(Conversation::as_select())
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(conversation)
}

/// Returns the conversation with this id, and locks it until the transaction ends.
pub(crate) async fn lock(tx: &TenantTx, id: Uuid) -> Result<Option<Conversation>> {
    let conversation = dsl::conversations
        .find((tx.tenant(), id))
        .select(Conversation::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(conversation)
}

/// Returns the conversations with these ids, and locks them in this order until the transaction ends.
pub(crate) async fn lock_each(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Conversation>> {
    let conversation = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Conversation::as_select())
        .for_no_key_update();
    Ok(each::each(ids, conversation).load(&mut tx.connection()).await?)
}

/// Returns the heads of these conversations, and locks them until the transaction ends. Conversations that
/// another transaction has locked are left out. So a transaction that holds locks never waits for more, and no
/// two transactions wait for each other.
pub(crate) async fn lock_free_heads(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Head>> {
    let head = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Head::as_select())
        .for_no_key_update()
        .skip_locked();
    Ok(each::each(ids, head).load(&mut tx.connection()).await?)
}

/// Returns the heads of these conversations, and locks them until the transaction ends. Fails with a conflict if
/// another transaction has one of them locked, and does not wait.
pub(crate) async fn lock_heads_at_once(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Head>> {
    let head = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(Head::as_select())
        .for_no_key_update()
        .no_wait();
    Ok(each::each(ids, head).load(&mut tx.connection()).await?)
}

/// Returns which of these conversations exist, whether they are locked or not.
pub(crate) async fn list_existing(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let id = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq(each::Id))
        .select(dsl::id);
    Ok(each::each(ids, id).load(&mut tx.connection()).await?)
}

/// Returns the head of one conversation, and locks it. Waits while another transaction has it locked.
pub(crate) async fn lock_head(tx: &TenantTx, id: Uuid) -> Result<Option<Head>> {
    let head = dsl::conversations
        .find((tx.tenant(), id))
        .select(Head::as_select())
        .for_no_key_update()
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(head)
}

/// Returns how far these conversations have come.
pub(crate) async fn list_heads(tx: &TenantTx, ids: &[Uuid]) -> Result<Vec<Head>> {
    let heads = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.eq_any(ids))
        .select(Head::as_select())
        .load(&mut tx.connection())
        .await?;
    Ok(heads)
}

/// Returns the sequence of the last message of a conversation.
pub(crate) async fn find_last_sequence(tx: &TenantTx, id: Uuid) -> Result<Option<i64>> {
    let last_sequence = dsl::conversations
        .find((tx.tenant(), id))
        .select(dsl::last_sequence)
        .first(&mut tx.connection())
        .await
        .optional()?;
    Ok(last_sequence)
}

/// Updates a conversation. The caller must have locked it, so that its counters have not changed since.
pub(crate) async fn update(
    tx: &TenantTx,
    conversation: &Conversation,
    session_taken: impl FnOnce() -> Error,
) -> Result<()> {
    diesel::update(dsl::conversations.find((tx.tenant(), conversation.id)))
        .set(conversation)
        .execute(&mut tx.connection())
        .await
        .on_constraint("conversations_open_session_id_key", session_taken)?;
    Ok(())
}

/// Updates the number of changes of a conversation. An analysis counts as a change.
pub(crate) async fn update_change_count(tx: &TenantTx, id: Uuid, change_count: i64) -> Result<()> {
    diesel::update(dsl::conversations.find((tx.tenant(), id)))
        .set(dsl::change_count.eq(change_count))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Updates the analysis that a conversation shows.
pub(crate) async fn update_latest_analysis(tx: &TenantTx, id: Uuid, analysis: &Analysis) -> Result<()> {
    diesel::update(dsl::conversations.find((tx.tenant(), id)))
        .set(dsl::latest_analysis.eq(Some(Json(analysis.clone()))))
        .execute(&mut tx.connection())
        .await?;
    Ok(())
}

/// Returns the analyses that the next conversations after this id show, by the ids of the conversations. The
/// conversations are locked until the transaction ends.
pub(crate) async fn lock_analysed_after(
    tx: &TenantTx,
    after: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, Option<Json<Analysis>>)>> {
    let analyses = dsl::conversations
        .filter(dsl::tenant_id.eq(tx.tenant()))
        .filter(dsl::id.gt(after))
        .order(dsl::id)
        .limit(limit)
        .select((dsl::id, dsl::latest_analysis))
        .for_no_key_update()
        .load(&mut tx.connection())
        .await?;
    Ok(analyses)
}

/// Updates the counters of conversations whose messages changed, all in one statement. The time of the last
/// message changes only if there is a new one.
pub(crate) async fn advance(tx: &TenantTx, heads: &[Head], now: DateTime<Utc>) -> Result<()> {
    let advance = Advance {
        tenant: tx.tenant(),
        now,
        ids: heads.iter().map(|head| head.id).collect(),
        last_sequences: heads.iter().map(|head| head.last_sequence).collect(),
        change_counts: heads.iter().map(|head| head.change_count).collect(),
    };
    advance.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Advances conversations by the messages that this transaction added, and returns their ids. A conversation whose
/// first new message is not stored stays as it is.
pub(crate) async fn advance_by(tx: &TenantTx, growths: &[Growth], now: DateTime<Utc>) -> Result<Vec<Uuid>> {
    let advance = AdvanceBy {
        tenant: tx.tenant(),
        now,
        ids: growths.iter().map(|growth| growth.conversation_id).collect(),
        firsts: growths.iter().map(|growth| growth.first_message_id).collect(),
        counts: growths.iter().map(|growth| growth.count).collect(),
    };
    let advanced: Vec<Advanced> = advance.load(&mut tx.connection()).await?;
    Ok(advanced.into_iter().map(|Advanced { id }| id).collect())
}

/// The messages that are added to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) conversation_id: Uuid,
    /// The first of the new messages.
    pub(crate) first_message_id: Uuid,
    pub(crate) count: i64,
}

/// A row of [`AdvanceBy`].
#[derive(QueryableByName)]
struct Advanced {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// The columns of [`Conversation`], in its order. Unless `$is_full`, without the columns that a list does not
/// show.
macro_rules! columns {
    ($is_full:expr) => {
        (
            dsl::id,
            dsl::customer_id,
            dsl::session_id,
            dsl::entry_point,
            dsl::contact_channel,
            dsl::modality,
            dsl::environment,
            dsl::presenter_kind,
            dsl::presenter_id,
            dsl::presenter_name,
            dsl::presenter_persona,
            dsl::status,
            dsl::started_at,
            dsl::ended_at,
            dsl::last_sequence,
            dsl::last_message_at,
            shown(dsl::latest_analysis, $is_full),
            dsl::outcome,
            dsl::outcome_notes,
            dsl::handoff_reason,
            dsl::follow_up_needed,
            dsl::follow_up_due_at,
            dsl::follow_up_notes,
            shown_or(dsl::metadata, $is_full, "'{}'"),
            dsl::change_count,
            dsl::own_change,
            dsl::created_at,
            dsl::updated_at,
            dsl::revision,
        )
    };
}

/// Returns one page of the conversations that match `filter`, and one row more if there is one. Unless
/// `is_full`, they come without analyses and metadata.
pub(crate) async fn list(
    tx: &TenantTx,
    filter: &Filter,
    (key, direction): (OrderKey, Direction),
    is_full: bool,
    page: &Page<Cursor>,
) -> Result<Rows<Conversation>> {
    if *filter != Filter::default() {
        tx.plan_for_values().await?;
    }
    let mut query = listing(
        dsl::conversations
            .filter(dsl::tenant_id.eq(tx.tenant()))
            .select(columns!(is_full))
            .limit(page.limit()),
    );
    if let Some(customer_id) = filter.customer_id {
        query = query.filter(dsl::customer_id.eq(customer_id));
    }
    if let Some(session_id) = &filter.session_id {
        query = query.filter(dsl::session_id.eq(session_id));
    }
    query = among!(query, dsl::status, filter.statuses);
    query = among!(query, dsl::entry_point, filter.entry_points);
    query = among!(query, dsl::modality, filter.modalities);
    query = among!(query, dsl::outcome, filter.outcomes);
    if !filter.environments.is_empty() {
        query = query.filter(dsl::environment.eq_any(&filter.environments));
    }
    if !filter.presenter_kinds.is_empty() {
        query = query.filter(dsl::presenter_kind.eq_any(&filter.presenter_kinds));
    }
    if let Some(presenter_id) = &filter.presenter_id {
        query = query.filter(dsl::presenter_id.eq(presenter_id));
    }
    if let Some(from) = filter.follow_up_due_from {
        query = query.filter(dsl::follow_up_needed).filter(dsl::follow_up_due_at.ge(from));
    }
    if let Some(until) = filter.follow_up_due_until {
        query = query.filter(dsl::follow_up_needed).filter(dsl::follow_up_due_at.lt(until));
    }
    if let Some(from) = filter.started_from {
        query = query.filter(dsl::started_at.ge(from));
    }
    if let Some(until) = filter.started_until {
        query = query.filter(dsl::started_at.lt(until));
    }
    if let Some(condition) = filter.analysed.condition() {
        query = query.filter(condition);
    }
    let query = match (key, page.after) {
        (OrderKey::StartedAt, Some(Cursor(time, id))) => {
            keyset!(query, direction, dsl::started_at, dsl::id, after(time, id))
        }
        (OrderKey::UpdatedAt, Some(Cursor(time, id))) => {
            keyset!(query, direction, dsl::updated_at, dsl::id, after(time, id))
        }
        (OrderKey::StartedAt, None) => keyset!(query, direction, dsl::started_at, dsl::id),
        (OrderKey::UpdatedAt, None) => keyset!(query, direction, dsl::updated_at, dsl::id),
    };
    Ok(Rows::of(fitted(query, MAX_PAGE_BYTES).load(&mut tx.connection()).await?))
}

statement! {
    /// The statement of [`advance`].
    struct Advance {
        tenant: Uuid as SqlUuid,
        now: DateTime<Utc> as Timestamptz,
        ids: Vec<Uuid> as Array<SqlUuid>,
        last_sequences: Vec<i64> as Array<BigInt>,
        change_counts: Vec<i64> as Array<BigInt>,
    }
    "UPDATE conversations AS c
     SET last_sequence = h.last_sequence, change_count = h.change_count,
         last_message_at = CASE WHEN h.last_sequence > c.last_sequence THEN :now ELSE c.last_message_at END
     FROM unnest(:ids, :last_sequences, :change_counts) AS h (id, last_sequence, change_count)
     WHERE c.id = h.id AND c.tenant_id = :tenant"
}

statement! {
    /// The statement of [`advance_by`].
    struct AdvanceBy {
        tenant: Uuid as SqlUuid,
        now: DateTime<Utc> as Timestamptz,
        ids: Vec<Uuid> as Array<SqlUuid>,
        firsts: Vec<Uuid> as Array<SqlUuid>,
        counts: Vec<i64> as Array<BigInt>,
    }
    "UPDATE conversations AS c
     SET last_sequence = c.last_sequence + g.count, last_message_at = :now
     FROM unnest(:ids, :firsts, :counts) AS g (id, first, count)
     WHERE c.id = g.id AND c.tenant_id = :tenant
         AND EXISTS (SELECT FROM conversation_messages WHERE id = g.first AND tenant_id = :tenant)
     RETURNING c.id"
}
