//! Words that many customers have.
//!
//! The index on words gathers all customers with a word before it gives the first one. For a word of a million customers
//! that takes longer than to walk a list in its order until a page is full. Postgres knows the most common words from its
//! last analysis of the table, with the share of all customers that have each. The service reads them in intervals.
//!
//! They only choose a plan: a word that is missing here is counted in the index.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Float, Text as SqlText};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio_util::sync::CancellationToken;

use super::words::Search;
use crate::db::Target;
use crate::db::statement::statement;

/// The smallest share of all customers that makes a word common. A page of 50 is then found among some 1,000 customers
/// of its tenant.
const SHARE: f32 = 0.05;

/// The time between two looks. An analysis of a large table is rarer.
const INTERVAL: Duration = Duration::from_secs(30);

/// The limit of a look, which reads one row of a catalog.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lexemes of common words, of all tenants, in order. A lexeme begins with its tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct CommonWords(Arc<RwLock<Vec<String>>>);

impl CommonWords {
    /// Returns whether a search is for a word, or the beginning of one, that is common. A search for several words is
    /// not: customers that have one may not have the others.
    pub(crate) fn has(&self, search: &Search) -> bool {
        let Some(word) = search.only_word() else { return false };
        let lexemes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let place = lexemes.partition_point(|lexeme| lexeme.as_str() < word);
        lexemes.get(place).is_some_and(|lexeme| lexeme.starts_with(word))
    }

    fn set(&self, mut lexemes: Vec<String>) {
        lexemes.sort_unstable();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = lexemes;
    }

    /// Looks in intervals, until `stop`.
    pub(crate) async fn watch(self, target: Target, stop: CancellationToken) {
        let look = async {
            loop {
                match self.look(&target).await {
                    Ok(lexemes) => self.set(lexemes),
                    Err(error) => tracing::debug!(error, "the common words of customers could not be read"),
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        stop.run_until_cancelled(look).await;
    }

    async fn look(&self, target: &Target) -> Result<Vec<String>, String> {
        let mut wire = target.open().await.map_err(|error| error.to_string())?;
        wire.ask(PATIENCE, async |connection| list(connection).await).await.map_err(|error| error.to_string())
    }
}

async fn list(connection: &mut AsyncPgConnection) -> QueryResult<Vec<String>> {
    let rows: Vec<Row> = List { share: SHARE }.load(connection).await?;
    Ok(rows.into_iter().map(|Row { lexeme }| lexeme).collect())
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlText)]
    lexeme: String,
}

statement! {
    /// The statement of [`list`]. Behind the shares of lexemes Postgres keeps others, which have no lexeme.
    struct List {
        share: f32 as Float,
    }
    "SELECT e.lexeme
     FROM pg_catalog.pg_stats AS s
     CROSS JOIN unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS e (lexeme, share)
     WHERE s.schemaname = current_schema() AND s.tablename = 'customers' AND s.attname = 'search_vector'
         AND e.lexeme IS NOT NULL AND e.share >= :share"
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::customers::wire;
    use crate::customers::words::{Asked, lexemes, search};
    use crate::pb;

    fn searched(tenant: u128, query: &str) -> Search {
        search(Uuid::from_u128(tenant), Asked { query, ..Asked::default() }).expect("a search")
    }

    #[test]
    fn a_common_word_is_known_by_its_beginning_in_its_tenant() {
        let words = CommonWords::default();
        assert!(!words.has(&searched(1, "cafe")), "nothing is known yet");
        let customer = pb::Customer { business_name: "Café Zoë".to_owned(), ..Default::default() };
        let customer = wire::create(customer, Uuid::nil(), crate::times::now());
        words.set(lexemes(Uuid::from_u128(1), &customer));
        for (tenant, query, expected) in [
            (1, "CAFÉ", true),
            (1, "caf", true),
            (1, "z", true),
            (1, "cafes", false),
            (1, "cafe zoe", false),
            (2, "cafe", false),
            (1, "b", false),
            (1, "zz", false),
        ] {
            assert_eq!(words.has(&searched(tenant, query)), expected, "{tenant} {query}");
        }
    }
}
