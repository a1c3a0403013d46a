//! The conditions of a list on the latest analysis of its conversations. Diesel has no functions that take jsonb
//! apart.
//!
//! Texts are compared in the form that `rpc::fold` returns. The analysis that a conversation shows has its
//! texts both in this form and as written.

use diesel::sql_types::{Array, Bool, Text as SqlText};

use crate::db::literal::expression;
use crate::db::statement::{Joined, fragment, joined};
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

    /// Returns the conditions as a condition of a list; `None` if none is set.
    pub(super) fn condition(&self) -> Option<Conditions> {
        let Self { topic, question, objection_kinds, sentiments } = self.clone();
        let kinds = (!objection_kinds.is_empty()).then_some(objection_kinds);
        let sentiments = (!sentiments.is_empty()).then_some(sentiments);
        let conditions = [
            topic.map(|topic| Condition::Topic { topic }),
            question.map(|question| Condition::Question { question }),
            kinds.map(|kinds| Condition::Objections { kinds }),
            sentiments.map(|sentiments| Condition::Sentiments { sentiments }),
        ];
        self.is_set().then(|| Conditions { set: joined(" ", conditions.into_iter().flatten()) })
    }
}

fragment! {
    /// The conditions that are set, on the column of `conversations`.
    pub(super) struct Conditions {
        set: Joined<Condition>,
    }
    "(latest_analysis IS NOT NULL :set)"
}

fragment! {
    /// A condition.
    enum Condition {
        Topic { topic: String as SqlText } => "AND latest_analysis -> 'topic_keys' ? :topic",
        Question { question: String as SqlText } => "AND latest_analysis -> 'question_keys' ? :question",
        Objections { kinds: Vec<Text<ObjectionKind>> as Array<SqlText> } =>
            "AND EXISTS (
                 SELECT FROM jsonb_array_elements(latest_analysis -> 'objections') AS o
                 WHERE o ->> 'kind' = ANY (:kinds)
             )",
        Sentiments { sentiments: Vec<Text<SentimentLabel>> as Array<SqlText> } =>
            "AND latest_analysis -> 'sentiment' ->> 'label' = ANY (:sentiments)",
    }
}

expression!(Conditions: Bool);
