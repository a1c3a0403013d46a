//! What is found of words.

use diesel::prelude::*;
use uuid::Uuid;

/// A form of a word of a query, as it is written or as a stem, and the FAQs that have it. The number of FAQs is
/// limited.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(crate) struct Posting {
    /// The number of the word, from 1.
    pub(crate) word: i64,
    /// The form of the word that is looked up.
    pub(crate) term: String,
    pub(crate) faq_ids: Vec<Uuid>,
    /// The weight of the word in each of these FAQs.
    pub(crate) weights: Vec<f32>,
}
