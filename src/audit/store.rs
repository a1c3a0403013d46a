//! `audit_events`.

use chrono::{DateTime, SecondsFormat, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::contract::Word;
use crate::db::literal::NO_COPY;
use crate::db::schema::audit_events::{self, dsl};
use crate::db::statement::{fragment, statement};
use crate::db::words::Text;
use crate::db::{LastStatement, TenantTx};
use crate::error::Result;
use crate::pb::{AuditOutcome, ResourceType};

/// A row of `audit_events`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = audit_events, check_for_backend(Pg))]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) principal: String,
    pub(crate) method: String,
    pub(crate) resource_type: Text<ResourceType>,
    pub(crate) resource_id: Option<Uuid>,
    pub(crate) outcome: Text<AuditOutcome>,
    pub(crate) code: i32,
    pub(crate) reason: Option<String>,
    pub(crate) call_id: Option<Uuid>,
    pub(crate) request_id: Option<Uuid>,
    pub(crate) first_sequence: Option<i64>,
    pub(crate) last_sequence: Option<i64>,
    pub(crate) covers_until: Option<DateTime<Utc>>,
}

/// Inserts events. An event that exists stays as it is: an earlier attempt, whose outcome is unknown, inserted
/// it.
pub(crate) async fn insert(tx: &TenantTx, events: &[Event]) -> Result<()> {
    let insert = Insert { tenant: tx.tenant(), events: Columns::of(events) };
    insert.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Inserts events of messages that were inserted behind the last ones of their conversations. `last_sequence` of these
/// conversations must still be what it was before. The sequences of an event are places among the new messages of its
/// conversation, from 1. Inserts no event of a conversation that did not take its messages.
pub(crate) async fn insert_behind(tx: &TenantTx, events: &[Event]) -> Result<()> {
    let insert = InsertBehind { tenant: tx.tenant(), events: Columns::of(events) };
    insert.execute(&mut tx.connection()).await?;
    Ok(())
}

/// Returns the statement that inserts an event and is sent together with COMMIT.
///
/// The statement has its values in its text. A statement with parameters would have to be prepared first, and
/// COMMIT would overtake it. No value can end a literal: they are numbers, UUIDs, times, and texts in
/// hexadecimal.
pub(crate) fn insert_last(tenant: Uuid, event: &Event) -> LastStatement {
    let Event {
        id,
        created_at,
        principal,
        method,
        resource_type,
        resource_id,
        outcome,
        code,
        reason,
        call_id,
        request_id,
        first_sequence,
        last_sequence,
        covers_until,
    } = event;
    let values = [
        uuid(Some(tenant)),
        uuid(Some(*id)),
        time(Some(*created_at)),
        text(Some(principal)),
        text(Some(method)),
        text(Some(resource_type.0.word())),
        uuid(*resource_id),
        text(Some(outcome.0.word())),
        code.to_string(),
        text(reason.as_deref()),
        uuid(*call_id),
        uuid(*request_id),
        number(*first_sequence),
        number(*last_sequence),
        time(*covers_until),
    ];
    LastStatement::new(format!("INSERT INTO audit_events ({COLUMNS}) VALUES ({})", values.join(", ")))
}

/// The columns, in the order in which [`insert`] and [`insert_last`] have their values.
const COLUMNS: &str =
    "tenant_id, id, created_at, principal, method, resource_type, resource_id, outcome, code,
    reason, call_id, request_id, first_sequence, last_sequence, covers_until";

fn literal(value: Option<String>) -> String {
    value.unwrap_or_else(|| "NULL".to_owned())
}

fn uuid(value: Option<Uuid>) -> String {
    literal(value.map(|id| format!("'{id}'")))
}

fn time(value: Option<DateTime<Utc>>) -> String {
    literal(value.map(|time| format!("'{}'", time.to_rfc3339_opts(SecondsFormat::Micros, true))))
}

fn number(value: Option<i64>) -> String {
    literal(value.map(|number| number.to_string()))
}

fn text(value: Option<&str>) -> String {
    let hexadecimal = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    literal(value.map(|text| format!("convert_from(decode('{}', 'hex'), 'UTF8')", hexadecimal(text))))
}

/// Returns the tenant with events that comes after this one; the first tenant if `after` is `None`. It runs as
/// the owner, which sees all tenants.
pub(crate) async fn find_next_tenant(
    owner: &mut AsyncPgConnection,
    after: Option<Uuid>,
) -> diesel::QueryResult<Option<Uuid>> {
    dsl::audit_events
        .filter(dsl::tenant_id.gt(after.unwrap_or(Uuid::nil())))
        .order(dsl::tenant_id.asc())
        .select(dsl::tenant_id)
        .first(owner)
        .await
        .optional()
}

/// Deletes the first events of a tenant before this id, as the owner. Returns their number. Skips rows that
/// another replica is deleting.
pub(crate) async fn delete_before(
    owner: &mut AsyncPgConnection,
    tenant: Uuid,
    end: Uuid,
    limit: i64,
) -> diesel::QueryResult<usize> {
    Delete { tenant, end, limit }.execute(owner).await
}

statement! {
    /// The statement of [`insert`].
    struct Insert<'e> {
        tenant: Uuid as SqlUuid,
        events: Columns<'e>,
    }
    "INSERT INTO audit_events (", COLUMNS, ")
     SELECT :tenant, e.*
     FROM :events AS e
     ON CONFLICT (tenant_id, id) DO NOTHING"
}

statement! {
    /// The statement of [`insert_behind`].
    struct InsertBehind<'e> {
        tenant: Uuid as SqlUuid,
        events: Columns<'e>,
    }
    "INSERT INTO audit_events (", COLUMNS, ")
     SELECT
         :tenant, e.id, e.created_at, e.principal, e.method, e.resource_type, e.resource_id, e.outcome, e.code,
         e.reason, e.call_id, e.request_id, c.last_sequence + e.first_place, c.last_sequence + e.last_place,
         e.covers_until
     FROM :events AS e (
         id, created_at, principal, method, resource_type, resource_id, outcome, code, reason, call_id, request_id,
         first_place, last_place, covers_until
     )
     CROSS JOIN LATERAL (
         SELECT last_sequence FROM conversations
         WHERE id = e.resource_id AND tenant_id = :tenant
         OFFSET 0
     ) AS c
     CROSS JOIN LATERAL (
         SELECT FROM conversation_messages
         WHERE conversation_id = e.resource_id AND sequence = c.last_sequence + e.first_place AND tenant_id = :tenant
         OFFSET 0
     ) AS stored",
    NO_COPY
}

fragment! {
    /// Events to insert: each column of the table but the tenant is an array.
    #[derive(Default)]
    struct Columns<'e> {
        ids: Vec<Uuid> as Array<SqlUuid>,
        created_ats: Vec<DateTime<Utc>> as Array<Timestamptz>,
        principals: Vec<&'e str> as Array<SqlText>,
        methods: Vec<&'e str> as Array<SqlText>,
        resource_types: Vec<Text<ResourceType>> as Array<SqlText>,
        resource_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        outcomes: Vec<Text<AuditOutcome>> as Array<SqlText>,
        codes: Vec<i32> as Array<Integer>,
        reasons: Vec<Option<&'e str>> as Array<Nullable<SqlText>>,
        call_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        request_ids: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        first_sequences: Vec<Option<i64>> as Array<Nullable<BigInt>>,
        last_sequences: Vec<Option<i64>> as Array<Nullable<BigInt>>,
        covers_untils: Vec<Option<DateTime<Utc>>> as Array<Nullable<Timestamptz>>,
    }
    "unnest(
         :ids, :created_ats, :principals, :methods, :resource_types, :resource_ids, :outcomes, :codes,
         :reasons, :call_ids, :request_ids, :first_sequences, :last_sequences, :covers_untils
     )"
}

impl<'e> Columns<'e> {
    fn of(events: &'e [Event]) -> Self {
        let mut columns = Self::default();
        for event in events {
            columns.push(event);
        }
        columns
    }

    fn push(&mut self, event: &'e Event) {
        let Event {
            id,
            created_at,
            principal,
            method,
            resource_type,
            resource_id,
            outcome,
            code,
            reason,
            call_id,
            request_id,
            first_sequence,
            last_sequence,
            covers_until,
        } = event;
        self.ids.push(*id);
        self.created_ats.push(*created_at);
        self.principals.push(principal);
        self.methods.push(method);
        self.resource_types.push(*resource_type);
        self.resource_ids.push(*resource_id);
        self.outcomes.push(*outcome);
        self.codes.push(*code);
        self.reasons.push(reason.as_deref());
        self.call_ids.push(*call_id);
        self.request_ids.push(*request_id);
        self.first_sequences.push(*first_sequence);
        self.last_sequences.push(*last_sequence);
        self.covers_untils.push(*covers_until);
    }
}

statement! {
    /// The statement of [`delete_before`].
    struct Delete {
        tenant: Uuid as SqlUuid,
        end: Uuid as SqlUuid,
        limit: i64 as BigInt,
    }
    "DELETE FROM audit_events
     WHERE tenant_id = :tenant AND id = ANY (ARRAY(
         SELECT e.id FROM audit_events AS e WHERE e.tenant_id = :tenant AND e.id < :end
         ORDER BY e.id
         LIMIT :limit
         FOR UPDATE SKIP LOCKED
     ))"
}
