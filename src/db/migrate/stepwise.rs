//! Runs a migration statement by statement. Citus passes the whole text of a message on to its workers for each
//! statement in it.

use std::any::Any;

use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{Migration, MigrationMetadata, MigrationName};
use diesel::pg::Pg;

/// A migration whose statements are sent one by one.
pub(super) struct Stepwise<'m>(pub(super) &'m dyn Migration<Pg>);

impl Migration<Pg> for Stepwise<'_> {
    fn run(&self, connection: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        step_by_step(connection, |gathered| self.0.run(gathered))
    }

    fn revert(&self, connection: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        step_by_step(connection, |gathered| self.0.revert(gathered))
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self.0.metadata()
    }

    fn name(&self) -> &dyn MigrationName {
        self.0.name()
    }
}

/// Sends the text that a migration would run, statement by statement.
fn step_by_step(
    connection: &mut dyn BoxableConnection<Pg>,
    gather: impl FnOnce(&mut Gathered) -> diesel::migration::Result<()>,
) -> diesel::migration::Result<()> {
    let mut gathered = Gathered::default();
    gather(&mut gathered)?;
    for statement in statements(&gathered.0) {
        connection.batch_execute(statement)?;
    }
    Ok(())
}

/// The text that a migration would run: it is collected here instead.
#[derive(Default)]
struct Gathered(String);

impl SimpleConnection for Gathered {
    fn batch_execute(&mut self, sql: &str) -> diesel::QueryResult<()> {
        self.0.push_str(sql);
        Ok(())
    }
}

impl BoxableConnection<Pg> for Gathered {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Returns the statements of a text, each without its semicolon. The body of a function must be quoted.
fn statements(sql: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut begin, mut at) = (0, 0);
    let mut is_blank = true;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(';') {
            found.extend(sql.get(begin..at).filter(|_| !is_blank));
            (begin, is_blank) = (at + 1, true);
        }
        let taken = word(rest);
        let is_space = rest.starts_with(|first: char| first.is_whitespace() || first == ';');
        is_blank &= is_space || rest.starts_with("--") || rest.starts_with("/*");
        at += taken;
    }
    found.extend(sql.get(begin..).filter(|_| !is_blank));
    found.into_iter().map(str::trim).collect()
}

/// Returns the length in bytes of the first part of a text in which a semicolon ends nothing: a quoted part, a
/// comment, or a character.
fn word(sql: &str) -> usize {
    let through = |end: &str, skipped: usize| {
        sql.get(skipped..).and_then(|rest| rest.find(end)).map_or(sql.len(), |at| skipped + at + end.len())
    };
    match sql.as_bytes() {
        [b'\'', ..] => through("'", 1),
        [b'"', ..] => through("\"", 1),
        [b'-', b'-', ..] => through("\n", 2),
        [b'/', b'*', ..] => through("*/", 2),
        [b'$', ..] => match dollar_quote(sql) {
            Some(quote) => through(quote, quote.len()),
            None => 1,
        },
        _ => sql.chars().next().map_or(1, char::len_utf8),
    }
}

/// Returns the quote `$name$` that a text begins with.
fn dollar_quote(sql: &str) -> Option<&str> {
    let end = sql.get(1..)?.find('$')? + 1;
    let name = sql.get(1..end)?;
    let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (is_name && !name.starts_with(|first: char| first.is_ascii_digit())).then(|| sql.get(..=end))?
}

#[cfg(test)]
mod tests {
    use diesel::migration::MigrationSource;

    use super::super::MIGRATIONS;
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_where_nothing_holds_it() {
        for (sql, expected) in [
            ("SELECT 1; SELECT 2", vec!["SELECT 1", "SELECT 2"]),
            ("SELECT 1;\n-- the end; of it\n", vec!["SELECT 1"]),
            (";;", vec![]),
            ("SELECT 'a;''b;'; SELECT \";\"", vec!["SELECT 'a;''b;'", "SELECT \";\""]),
            ("-- one; two\nSELECT 1 /* ; */;", vec!["-- one; two\nSELECT 1 /* ; */"]),
            (
                "DO $$ BEGIN; END $$; SELECT $1; SELECT $x$;$$;$x$",
                vec!["DO $$ BEGIN; END $$", "SELECT $1", "SELECT $x$;$$;$x$"],
            ),
            ("SELECT 'ø; '", vec!["SELECT 'ø; '"]),
        ] {
            assert_eq!(statements(sql), expected, "{sql}");
        }
    }

    #[test]
    fn every_migration_has_statements() {
        let known = MigrationSource::<Pg>::migrations(&MIGRATIONS).expect("migrations");
        for (migration, is_up) in known.iter().flat_map(|migration| [(migration, true), (migration, false)]) {
            let mut gathered = Gathered::default();
            let text = if is_up { migration.run(&mut gathered) } else { migration.revert(&mut gathered) };
            text.expect("its text");
            let statements = statements(&gathered.0);
            assert!(!statements.is_empty(), "{}", migration.name());
            for statement in statements {
                // Citus accepts a constraint only if nothing else changes in the same statement.
                let adds = statement.contains("ADD CONSTRAINT") || statement.contains("VALIDATE CONSTRAINT");
                let changes = ["ADD ", "DROP ", "VALIDATE ", "ALTER COLUMN"];
                let count: usize =
                    changes.iter().map(|change| statement.matches(&format!("\n    {change}")).count()).sum();
                assert!(!adds || count <= 1, "a constraint and something else in {statement}");
            }
        }
    }
}
