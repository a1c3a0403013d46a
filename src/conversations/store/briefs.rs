//! The statement that reads the conversations for a context.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Jsonb, Nullable, Text as SqlText, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::conversations::analyses::store::Analysis;
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::db::words::Text;
use crate::error::Result;
use crate::pb::{ConversationOutcome, EntryPoint, Modality};

/// The columns of a conversation that a context uses.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Brief {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) entry_point: Option<Text<EntryPoint>>,
    pub(crate) modality: Text<Modality>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) last_sequence: i64,
    pub(crate) latest_analysis: Option<Json<Analysis>>,
    pub(crate) outcome: Option<Text<ConversationOutcome>>,
    pub(crate) outcome_notes: String,
    pub(crate) follow_up_due_at: Option<DateTime<Utc>>,
    pub(crate) follow_up_notes: String,
}

/// The conversations of a customer that a context uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Briefs {
    /// The newest, the latest start first.
    pub(crate) newest: Vec<Brief>,
    /// Those that need a follow-up, the next due first.
    pub(crate) to_do: Vec<Brief>,
    /// The one that the caller named, of any customer.
    pub(crate) named: Option<Brief>,
    /// The number of conversations older than the newest, up to a limit.
    pub(crate) older: i64,
}

/// The limits on the conversations that are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) newest: i64,
    pub(crate) to_do: i64,
    /// The limit up to which older ones are counted.
    pub(crate) older: i64,
    /// The limit of bytes of text, for the newest and for those to do. At least one of each is read.
    pub(crate) bytes: i64,
}

/// The limits on the parts of an analysis that are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// The number of topics, and of questions.
    pub(crate) texts: usize,
    /// The number of characters of the summary. One more is read, to show that there are more.
    pub(crate) summary: usize,
    /// The number of characters of a question, and of the evidence of an objection. One more is read, to show
    /// that there are more.
    pub(crate) characters: usize,
}

/// The part of an analysis that is read: what an agent needs to go on. The whole may be a megabyte.
pub(crate) const ANALYSIS: Share = Share { texts: 20, summary: 4_000, characters: 500 };

/// The size in bytes up to which an analysis is not cut.
const SHORT_ANALYSIS: i32 = 2_000;

/// The number of bytes in one unit of [`Limits::bytes`].
const UNIT: i64 = 1 << 10;

impl Briefs {
    /// Applies `change` to each of them.
    pub(crate) fn each(&mut self, change: impl FnMut(&mut Brief)) {
        let Self { newest, to_do, named, older: _ } = self;
        newest.iter_mut().chain(to_do).chain(named).for_each(change);
    }
}

impl Brief {
    /// Returns the bytes of its texts.
    pub(crate) fn text_len(&self) -> usize {
        let analysis = self.latest_analysis.as_ref().map_or(0, |Json(analysis)| {
            let texts = analysis.topics.0.iter().chain(&analysis.questions.0);
            let evidence = analysis.objections.0.iter().map(|objection| &objection.evidence);
            analysis.summary.len() + texts.chain(evidence).map(String::len).sum::<usize>()
        });
        analysis + self.outcome_notes.len() + self.follow_up_notes.len()
    }
}

/// Returns the conversations of a customer, and one that the caller names by its id.
pub(crate) async fn list_briefs(
    tx: &TenantTx,
    customer_id: Uuid,
    named: Option<Uuid>,
    limits: Limits,
) -> Result<Briefs> {
    let list = ListBriefs { tenant: tx.tenant(), customer_id, named: named.unwrap_or_default(), limits };
    let rows: Vec<(i32, i64, Brief)> = list.load(&mut tx.connection()).await?;
    let mut briefs = Briefs::default();
    let mut all = 0;
    for (part, count, brief) in rows {
        all = count;
        match part {
            NEWEST => briefs.newest.push(brief),
            TO_DO => briefs.to_do.push(brief),
            _ => briefs.named = Some(brief),
        }
    }
    let newest = i64::try_from(briefs.newest.len()).unwrap_or(i64::MAX);
    briefs.older = all.saturating_sub(newest).min(limits.older);
    // A union has no order.
    briefs.newest.sort_by_key(|brief| std::cmp::Reverse((brief.started_at, brief.id)));
    briefs.to_do.sort_by_key(|brief| (brief.follow_up_due_at.is_none(), brief.follow_up_due_at, brief.id));
    Ok(briefs)
}

/// The parts of the statement.
const NEWEST: i32 = 1;
const TO_DO: i32 = 2;
const NAMED: i32 = 3;

/// The statement of [`list_briefs`]. It is a single one, because a statement costs more than these rows.
#[derive(QueryId)]
struct ListBriefs {
    tenant: Uuid,
    customer_id: Uuid,
    /// Nil if the caller names none: no conversation has that id.
    named: Uuid,
    limits: Limits,
}

impl Query for ListBriefs {
    type SqlType = (
        Integer,
        BigInt,
        (
            SqlUuid,
            SqlUuid,
            Nullable<SqlText>,
            SqlText,
            Timestamptz,
            BigInt,
            Nullable<Jsonb>,
            Nullable<SqlText>,
            SqlText,
            Nullable<Timestamptz>,
            SqlText,
        ),
    );
}

impl QueryFragment<Pg> for ListBriefs {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Limits { newest, to_do, older, bytes: _ } = &self.limits;
        out.push_sql("SELECT part, (SELECT count(*) FROM (SELECT 1 ");
        self.walk_customer(&mut out)?;
        out.push_sql(" ORDER BY started_at DESC, id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(older)?;
        out.push_sql(" + ");
        out.push_bind_param::<BigInt, _>(newest)?;
        out.push_sql(
            ") AS o), id, customer_id, entry_point, modality, started_at, last_sequence, told, \
             outcome, outcome_notes, follow_up_due_at, follow_up_notes FROM (",
        );
        self.walk_part(&mut out, &NEWEST, |out| {
            self.walk_customer(out)?;
            out.push_sql(" ORDER BY started_at DESC, id DESC LIMIT ");
            out.push_bind_param::<BigInt, _>(newest)
        })?;
        out.push_sql(" UNION ALL ");
        self.walk_part(&mut out, &TO_DO, |out| {
            self.walk_customer(out)?;
            out.push_sql(" AND follow_up_needed ORDER BY follow_up_due_at, id LIMIT ");
            out.push_bind_param::<BigInt, _>(to_do)
        })?;
        out.push_sql(" UNION ALL ");
        self.walk_part(&mut out, &NAMED, |out| {
            out.push_sql("FROM conversations WHERE tenant_id = ");
            out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
            out.push_sql(" AND id = ");
            out.push_bind_param::<SqlUuid, _>(&self.named)
        })?;
        out.push_sql(") AS c");
        Ok(())
    }
}

impl ListBriefs {
    fn walk_customer<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("FROM conversations WHERE tenant_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" AND customer_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.customer_id)
    }

    /// Writes one part of the statement. Each row, with its cut analysis, is repeated once per unit of bytes,
    /// until all units are taken. Of these, the first of each row is returned. Rows beyond the limit are not
    /// decompressed.
    fn walk_part<'b>(
        &'b self,
        out: &mut AstPass<'_, 'b, Pg>,
        part: &'b i32,
        rows: impl FnOnce(&mut AstPass<'_, 'b, Pg>) -> QueryResult<()>,
    ) -> QueryResult<()> {
        out.push_sql("(SELECT ");
        out.push_bind_param::<Integer, _>(part)?;
        out.push_sql(
            "::int AS part, q.* FROM (SELECT u.*, generate_series(1, (coalesce(octet_length(told::text), 0) \
             + octet_length(outcome_notes) + octet_length(follow_up_notes)) / ",
        );
        out.push_bind_param::<BigInt, _>(&UNIT)?;
        out.push_sql("::int + 1) AS unit FROM (SELECT c.*, a.told FROM (SELECT * ");
        rows(out)?;
        out.push_sql(") AS c CROSS JOIN LATERAL (SELECT ");
        walk_told(out)?;
        out.push_sql(" AS told OFFSET 0) AS a OFFSET 0) AS u LIMIT greatest(1, ");
        out.push_bind_param::<BigInt, _>(&self.limits.bytes)?;
        out.push_sql(" / ");
        out.push_bind_param::<BigInt, _>(&UNIT)?;
        out.push_sql(")) AS q WHERE unit = 1)");
        Ok(())
    }
}

/// Writes the expression for the part of the analysis of `c` that [`ANALYSIS`] allows.
fn walk_told(out: &mut AstPass<'_, '_, Pg>) -> QueryResult<()> {
    let Share { texts, summary, characters } = ANALYSIS;
    // These numbers are the same in every statement, and none comes from a client.
    out.push_sql(&format!(
        "CASE WHEN c.latest_analysis IS NULL OR (pg_column_compression(c.latest_analysis) IS NULL \
         AND pg_column_size(c.latest_analysis) <= {SHORT_ANALYSIS}) THEN c.latest_analysis \
         ELSE c.latest_analysis || jsonb_build_object(\
         'summary', left(c.latest_analysis ->> 'summary', {summary} + 1), \
         'topics', jsonb_path_query_array(c.latest_analysis, '$.topics[0 to {last}]'), \
         'questions', (SELECT coalesce(jsonb_agg(left(t.text, {characters} + 1) ORDER BY t.place), '[]') \
         FROM jsonb_array_elements_text(c.latest_analysis -> 'questions') WITH ORDINALITY AS t (text, place) \
         WHERE t.place <= {texts}), \
         'objections', (SELECT coalesce(jsonb_agg(o.one || jsonb_build_object('evidence', \
         left(coalesce(o.one ->> 'evidence', ''), {characters} + 1)) ORDER BY o.place), '[]') \
         FROM jsonb_array_elements(c.latest_analysis -> 'objections') WITH ORDINALITY AS o (one, place))) END",
        last = texts - 1,
    ));
    Ok(())
}
