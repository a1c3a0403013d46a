//! What is found of words.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Float, Text as SqlText, Uuid as SqlUuid};
use uuid::Uuid;

use crate::db::schema::customer_faq_terms;

/// A form of a word of a query, as it is written or as a stem, and the FAQs that have it. The number of FAQs is
/// limited.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub(crate) struct Posting {
    /// The number of the word, from 1.
    #[diesel(sql_type = BigInt)]
    pub(crate) word: i64,
    /// The form of the word that is looked up.
    #[diesel(sql_type = SqlText)]
    pub(crate) term: String,
    #[diesel(sql_type = Array<SqlUuid>)]
    pub(crate) faq_ids: Vec<Uuid>,
    /// The weight of the word in each of these FAQs.
    #[diesel(sql_type = Array<Float>)]
    pub(crate) weights: Vec<f32>,
}

/// The weight of a term in a FAQ.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[diesel(table_name = customer_faq_terms, check_for_backend(Pg))]
pub(crate) struct Weight {
    pub(crate) faq_id: Uuid,
    pub(crate) term: String,
    pub(crate) weight: f32,
}
