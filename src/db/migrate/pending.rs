//! The migrations that a database lacks.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use diesel::migration::{CREATE_MIGRATIONS_TABLE, Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::sql_types::{Bool, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use super::{MIGRATIONS, PATIENCE, SET_LOCK_TIMEOUT};
use crate::db::Wire;

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// A migration that a database lacks. Its display is SQL that applies it as the service would.
#[derive(Debug)]
pub struct Pending {
    /// Its name.
    pub name: String,
    version: String,
    /// Whether it runs in a transaction.
    in_transaction: bool,
}

impl Display for Pending {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, version, in_transaction } = self;
        let text = TEXTS.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text.trim());
        let (begin, commit) = match in_transaction {
            true => (format!("BEGIN;\n{SET_LOCK_TIMEOUT};\n"), "COMMIT;\n"),
            false => (String::new(), ""),
        };
        let note = format!("INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}');");
        write!(f, "-- {name}\n{begin}{text}\n{note}\n{commit}")
    }
}

/// Returns SQL that applies migrations, for people or for psql.
pub fn script(pending: &[Pending]) -> String {
    let texts: String = pending.iter().map(|migration| format!("\n{migration}")).collect();
    if texts.is_empty() {
        "-- Nothing is missing.\n".to_owned()
    } else {
        format!("{CREATE_MIGRATIONS_TABLE}{texts}")
    }
}

/// Returns the missing migrations in order. It changes nothing, so it needs only the right to read.
pub(super) async fn list(wire: &mut Wire) -> Result<Vec<Pending>, String> {
    #[derive(QueryableByName)]
    struct Table {
        #[diesel(sql_type = Bool)]
        there: bool,
    }
    #[derive(QueryableByName)]
    struct Applied {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let applied: HashSet<String> = wire
        .ask(PATIENCE, async |connection| {
            let table = "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS there";
            let Table { there } = sql_query(table).get_result(connection).await?;
            if !there {
                return Ok::<_, diesel::result::Error>(HashSet::new());
            }
            let applied = sql_query("SELECT version::text AS version FROM __diesel_schema_migrations");
            let applied: Vec<Applied> = applied.load(connection).await?;
            Ok(applied.into_iter().map(|Applied { version }| version).collect())
        })
        .await
        .map_err(|error| error.to_string())?;
    let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().map_err(|error| error.to_string())?;
    let mut pending: Vec<_> = known
        .iter()
        .map(|migration| Pending {
            name: migration.name().to_string(),
            version: migration.name().version().to_string(),
            in_transaction: migration.metadata().run_in_transaction(),
        })
        .filter(|migration| !applied.contains(&migration.version))
        .collect();
    pending.sort_by(|one, other| one.version.cmp(&other.version));
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_can_be_shown() {
        let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().expect("migrations");
        let named: HashSet<String> = known.iter().map(|migration| migration.name().to_string()).collect();
        let shown: HashSet<String> = TEXTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(named, shown);
        assert!(TEXTS.iter().all(|(_, text)| !text.trim().is_empty()));
    }
}
