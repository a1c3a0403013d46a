//! The statement that reads the conversations for a context.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::conversations::analyses::store::Analysis;
use crate::db::TenantTx;
use crate::db::json::Json;
use crate::db::schema::conversations;
use crate::db::statement::statement;
use crate::db::words::Text;
use crate::error::Result;
use crate::numbers;
use crate::pb::{ConversationOutcome, EntryPoint, Modality};

/// The columns of a conversation that a context uses.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[diesel(table_name = conversations, check_for_backend(Pg))]
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
    let list = ListBriefs {
        tenant: tx.tenant(),
        customer_id,
        named: named.unwrap_or_default(),
        newest: limits.newest,
        to_do: limits.to_do,
        older: limits.older,
        bytes: limits.bytes,
        unit: UNIT,
    };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let mut briefs = Briefs::default();
    let mut all = 0;
    for Row { part, count, brief } in rows {
        all = count;
        match part {
            NEWEST => briefs.newest.push(brief),
            TO_DO => briefs.to_do.push(brief),
            _ => briefs.named = Some(brief),
        }
    }
    let newest = numbers::count(briefs.newest.len());
    briefs.older = all.saturating_sub(newest).min(limits.older);
    // A union has no order.
    briefs.newest.sort_by_key(|brief| std::cmp::Reverse((brief.started_at, brief.id)));
    briefs.to_do.sort_by_key(|brief| (brief.follow_up_due_at.is_none(), brief.follow_up_due_at, brief.id));
    Ok(briefs)
}

/// The parts of the statement. The rest is the conversation that the caller names.
const NEWEST: i32 = 1;
const TO_DO: i32 = 2;

/// A row of the statement of [`list_briefs`].
#[derive(Debug, QueryableByName)]
struct Row {
    #[diesel(sql_type = Integer)]
    part: i32,
    /// The number of conversations of the customer, up to a limit.
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(embed)]
    brief: Brief,
}

statement! {
    /// The statement of [`list_briefs`]. It is a single one, because a statement costs more than these rows.
    struct ListBriefs {
        tenant: Uuid as SqlUuid,
        customer_id: Uuid as SqlUuid,
        /// Nil if the caller names none: no conversation has that id.
        named: Uuid as SqlUuid,
        newest: i64 as BigInt,
        to_do: i64 as BigInt,
        older: i64 as BigInt,
        bytes: i64 as BigInt,
        unit: i64 as BigInt,
    }
    "SELECT
         part,
         (
             SELECT count(*) FROM (
                 SELECT 1 FROM conversations WHERE tenant_id = :tenant AND customer_id = :customer_id
                 ORDER BY started_at DESC, id DESC LIMIT :older + :newest
             ) AS o
         ) AS count,
         id, customer_id, entry_point, modality, started_at, last_sequence, told AS latest_analysis,
         outcome, outcome_notes, follow_up_due_at, follow_up_notes
     FROM (
         (SELECT 1 AS part, q.* FROM (", CUT_BEGIN, "
             SELECT * FROM conversations WHERE tenant_id = :tenant AND customer_id = :customer_id
             ORDER BY started_at DESC, id DESC LIMIT :newest
         ", CUT_END, ") AS q WHERE unit = 1)
         UNION ALL
         (SELECT 2 AS part, q.* FROM (", CUT_BEGIN, "
             SELECT * FROM conversations WHERE tenant_id = :tenant AND customer_id = :customer_id
             AND follow_up_needed ORDER BY follow_up_due_at, id LIMIT :to_do
         ", CUT_END, ") AS q WHERE unit = 1)
         UNION ALL
         (SELECT 3 AS part, q.* FROM (", CUT_BEGIN, "
             SELECT * FROM conversations WHERE tenant_id = :tenant AND id = :named
         ", CUT_END, ") AS q WHERE unit = 1)
     ) AS c"
}

/// Before the rows of a part. Each row, with its cut analysis, is repeated once per unit of bytes, until all units
/// are taken. Of these, the first of each row is returned. Rows beyond the limit are not decompressed.
const CUT_BEGIN: &str = "
    SELECT
        u.*,
        generate_series(
            1,
            (
                coalesce(octet_length(told::text), 0)
                + octet_length(outcome_notes) + octet_length(follow_up_notes)
            ) / :unit::int + 1
        ) AS unit
    FROM (
        SELECT c.*, a.told FROM (";

/// After the rows of a part. The analysis is cut as [`ANALYSIS`] allows, unless it is short.
const CUT_END: &str = "
        ) AS c
        CROSS JOIN LATERAL (
            SELECT
                CASE WHEN c.latest_analysis IS NULL
                    OR (pg_column_compression(c.latest_analysis) IS NULL
                        AND pg_column_size(c.latest_analysis) <= 2000)
                THEN c.latest_analysis
                ELSE c.latest_analysis || jsonb_build_object(
                    'summary', left(c.latest_analysis ->> 'summary', 4000 + 1),
                    'topics', jsonb_path_query_array(c.latest_analysis, '$.topics[0 to 19]'),
                    'questions', (
                        SELECT coalesce(jsonb_agg(left(t.text, 500 + 1) ORDER BY t.place), '[]')
                        FROM jsonb_array_elements_text(c.latest_analysis -> 'questions')
                            WITH ORDINALITY AS t (text, place)
                        WHERE t.place <= 20
                    ),
                    'objections', (
                        SELECT coalesce(
                            jsonb_agg(
                                o.one || jsonb_build_object(
                                    'evidence', left(coalesce(o.one ->> 'evidence', ''), 500 + 1)
                                )
                                ORDER BY o.place
                            ),
                            '[]'
                        )
                        FROM jsonb_array_elements(c.latest_analysis -> 'objections')
                            WITH ORDINALITY AS o (one, place)
                    )
                ) END AS told
            OFFSET 0
        ) AS a
        OFFSET 0
    ) AS u
    LIMIT greatest(1, :bytes / :unit)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_analysis_is_cut_as_its_share_allows() {
        let Share { texts, summary, characters } = ANALYSIS;
        for cut in [
            format!("'summary', {summary} + 1)"),
            format!("$.topics[0 to {}]", texts - 1),
            format!("left(t.text, {characters} + 1)"),
            format!("t.place <= {texts}"),
            format!("'evidence', ''), {characters} + 1)"),
        ] {
            assert!(CUT_END.contains(&cut), "{cut}");
        }
    }
}
