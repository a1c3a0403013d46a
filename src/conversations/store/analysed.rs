//! The conditions of a list on the latest analysis of its conversations. The SQL is written by hand: diesel has
//! no functions that take jsonb apart.
//!
//! Texts are compared in the form that `rpc::fold` returns. The analysis that a conversation shows has its
//! texts both in this form and as written.

use diesel::expression::{ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{Array, Bool, Text as SqlText};
use diesel::{AppearsOnTable, Expression, QueryResult, SelectableExpression};

use crate::db::schema::conversations;
use crate::db::words::Text;
use crate::pb::{ObjectionKind, SentimentLabel};

/// Conditions on the latest analysis. All that are set must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Analysed {
    /// It has this topic, folded.
    pub(crate) topic: Option<String>,
    /// It has this question, folded.
    pub(crate) question: Option<String>,
    /// It has an objection of one of these kinds.
    pub(crate) objection_kinds: Vec<Text<ObjectionKind>>,
    /// Its mood is one of these.
    pub(crate) sentiments: Vec<Text<SentimentLabel>>,
}

impl Analysed {
    /// Returns whether any condition is set.
    pub(crate) fn is_set(&self) -> bool {
        *self != Self::default()
    }
}

/// Each set of conditions makes another statement.
impl QueryId for Analysed {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Expression for Analysed {
    type SqlType = Bool;
}

impl AppearsOnTable<conversations::table> for Analysed {}

impl SelectableExpression<conversations::table> for Analysed {}

impl<G> ValidGrouping<G> for Analysed {
    type IsAggregate = is_aggregate::No;
}

impl QueryFragment<Pg> for Analysed {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Self { topic, question, objection_kinds, sentiments } = self;
        out.push_sql("(latest_analysis IS NOT NULL");
        for (list, text) in [("topic_keys", topic), ("question_keys", question)] {
            let Some(text) = text else { continue };
            out.push_sql(" AND latest_analysis -> '");
            out.push_sql(list);
            out.push_sql("' ? ");
            out.push_bind_param::<SqlText, _>(text)?;
        }
        if !objection_kinds.is_empty() {
            out.push_sql(
                " AND EXISTS (SELECT FROM jsonb_array_elements(latest_analysis -> 'objections') AS o \
                 WHERE o ->> 'kind' = ANY(",
            );
            out.push_bind_param::<Array<SqlText>, _>(objection_kinds)?;
            out.push_sql("))");
        }
        if !sentiments.is_empty() {
            out.push_sql(" AND latest_analysis -> 'sentiment' ->> 'label' = ANY(");
            out.push_bind_param::<Array<SqlText>, _>(sentiments)?;
            out.push_sql(")");
        }
        out.push_sql(")");
        Ok(())
    }
}
