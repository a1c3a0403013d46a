//! What a migration must not do to a table that is in use, because the table may be large: hold a lock that readers
//! or writers wait for, while it reads or writes the whole table.
//!
//! A table that the same migration creates is empty, and no other transaction waits for it. All other changes are
//! made in steps. A new column has no default that must be computed. A constraint is NOT VALID, and another migration
//! has VALIDATE CONSTRAINT. An index is built with CONCURRENTLY, alone in a migration that says `run_in_transaction =
//! false`. Rows are changed by the service, in batches (see `reindex`).

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use regex::Regex;

use super::MIGRATIONS;
use super::pending::TEXTS;

/// A forbidden action of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Breach {
    /// CREATE INDEX or DROP INDEX without CONCURRENTLY: writers wait while it is built.
    Index,
    /// All rows are rewritten under ACCESS EXCLUSIVE.
    Rewrite,
    /// All rows are read to check a constraint, under a lock that writers wait for.
    Scan,
    /// UNIQUE or PRIMARY KEY that does not use an existing index.
    Unique,
    /// Rows of all tenants are changed in one transaction.
    Rows,
    /// A lock of a whole table, taken explicitly or held for long.
    Lock,
    /// CONCURRENTLY beside other statements or in a transaction, where Postgres refuses it.
    Concurrently,
    /// A setting that stays on the session, which a pooler passes on to other clients.
    Session,
}

/// Migrations that may do so, what they do, and why. All are from before the first release, when no table was large.
/// Migrations after [`LAST_EXCEPTION`] get no exception, and a migration that is rewritten leaves the list.
const EXCEPTIONS: &[(&str, &[Breach], &str)] = &[
    ("2026-11-22-000005_streams", &[Breach::Index, Breach::Scan], "messages got changes in the first days"),
    (
        "2026-11-23-000006_questions",
        &[Breach::Index, Breach::Rewrite, Breach::Scan],
        "questions got another confidence in the first days",
    ),
    (
        "2026-11-23-000007_faqs",
        &[Breach::Index, Breach::Rewrite, Breach::Scan],
        "FAQs got what they are found by in the first days",
    ),
    (
        "2026-11-23-000008_context",
        &[Breach::Index, Breach::Scan],
        "messages got counts of tokens in the first days",
    ),
    (
        "2026-11-26-000011_campaigns_and_engagement",
        &[Breach::Index, Breach::Rows],
        "customers are counted once, by their rows",
    ),
    (
        "2026-11-26-000012_usage_of_models",
        &[Breach::Rewrite, Breach::Unique],
        "columns that are generated cannot be added without writing the table anew",
    ),
    ("2026-11-29-000013_search_of_customers", &[Breach::Scan], "a shorter check of telephone numbers"),
    (
        "2026-11-29-000014_search_of_faqs",
        &[Breach::Index, Breach::Scan],
        "terms got places, and their index with them",
    ),
    ("2026-11-29-000015_folding", &[Breach::Rows], "interests are few where there is no release"),
    ("2026-11-29-000016_consents", &[Breach::Index], "an index that nothing reads goes"),
    (
        "2026-11-29-000017_consents_so_far",
        &[Breach::Rows],
        "consents are made once of the events that there are",
    ),
    ("2026-11-29-000019_bounded_sort_names", &[Breach::Rows], "the few names that were too long"),
    ("2026-11-29-000020_sessions", &[Breach::Index], "sessions of conversations that have not ended"),
];

/// The newest migration that may have an exception.
const LAST_EXCEPTION: &str = "2026-11-29-000021_written_answers";

/// Returns statements without comments, in capitals outside of quotes, with single spaces.
fn statements(sql: &str) -> Vec<String> {
    let (mut all, mut one, mut rest) = (Vec::new(), String::new(), sql);
    while let Some(letter) = rest.chars().next() {
        let taken = match letter {
            '-' if rest.starts_with("--") => {
                one.push(' ');
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                continue;
            }
            ';' => {
                all.push(std::mem::take(&mut one));
                1
            }
            '\'' => quoted(rest, "'", &mut one),
            '"' => quoted(rest, "\"", &mut one),
            '$' => match rest[1..]
                .split_once('$')
                .filter(|(tag, _)| tag.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            {
                Some((tag, _)) => quoted(rest, &format!("${tag}$"), &mut one),
                None => 1,
            },
            letter => {
                one.extend(letter.to_uppercase());
                letter.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    all.push(one);
    let squeezed = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    all.into_iter().map(squeezed).filter(|text| !text.is_empty()).collect()
}

/// Copies what is between two marks, and returns its length with the marks.
fn quoted(text: &str, mark: &str, into: &mut String) -> usize {
    let end = text[mark.len()..].find(mark).map_or(text.len(), |at| at + 2 * mark.len());
    into.push_str(&text[..end]);
    end
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

static CREATES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)"));
static ALTERS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^ALTER TABLE (?:IF EXISTS )?(?:ONLY )?(\w+) (.*)$"));
static INDEXES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?\w+ ON (?:ONLY )?(\w+)")
});
static CHANGES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:WITH .*?\) )?(?:UPDATE|DELETE FROM|INSERT INTO) (?:ONLY )?(\w+)"));
static LOCKS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:LOCK|TRUNCATE|CLUSTER|VACUUM|REINDEX)(?: TABLE| INDEX| FULL| ONLY)* (CONCURRENTLY )?(\w+)")
});
static REWRITES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"ALTER (?:COLUMN )?\w+ (?:SET DATA )?TYPE |ADD (?:COLUMN )?\w+ [^,]*(?:\) STORED|DEFAULT (?:GEN_RANDOM_UUID|CLOCK_TIMESTAMP|RANDOM|NEXTVAL|TIMEOFDAY)|SERIAL|AS IDENTITY)|SET (?:LOGGED|UNLOGGED|TABLESPACE|ACCESS METHOD)",
    )
});
static CONSTRAINTS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"ADD (?:CONSTRAINT \w+ )?(?:CHECK|FOREIGN KEY)|ADD COLUMN (?:IF NOT EXISTS )?\w+ [^,]*?(?:CHECK|REFERENCES) ?\(|SET NOT NULL",
    )
});
static UNIQUES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"ADD (?:CONSTRAINT \w+ )?(?:UNIQUE|PRIMARY KEY|EXCLUDE) ?(USING INDEX)?|ADD COLUMN (?:IF NOT EXISTS )?\w+ [^,]*?(?:UNIQUE|PRIMARY KEY)",
    )
});
static NOT_VALID: LazyLock<Regex> = LazyLock::new(|| pattern(r"NOT VALID"));

/// Returns the forbidden actions of a migration, if these tables exist.
fn breaches(sql: &str, tables: &mut HashSet<String>, in_transaction: bool) -> BTreeSet<Breach> {
    let mut found = BTreeSet::new();
    let there = tables.clone();
    let statements = statements(sql);
    for statement in &statements {
        if let Some(table) = CREATES.captures(statement) {
            tables.insert(table[1].to_owned());
        }
        if let Some(index) = INDEXES.captures(statement)
            && index.get(1).is_none()
            && there.contains(&index[2])
        {
            found.insert(Breach::Index);
        }
        if statement.starts_with("DROP INDEX") && !statement.contains("CONCURRENTLY") {
            found.insert(Breach::Index);
        }
        if let Some(alter) = ALTERS.captures(statement)
            && there.contains(&alter[1])
        {
            let what = &alter[2];
            if REWRITES.is_match(what) {
                found.insert(Breach::Rewrite);
            }
            if CONSTRAINTS.find_iter(what).count() > NOT_VALID.find_iter(what).count() {
                found.insert(Breach::Scan);
            }
            if UNIQUES.captures_iter(what).any(|unique| unique.get(1).is_none()) {
                found.insert(Breach::Unique);
            }
        }
        if let Some(change) = CHANGES.captures(statement) {
            let from_rows = statement.starts_with("INSERT") || statement.contains("INSERT INTO");
            let reads = || there.iter().any(|table| statement.contains(&format!("FROM {table}")));
            if if from_rows { reads() } else { there.contains(&change[1]) } {
                found.insert(Breach::Rows);
            }
        }
        if let Some(lock) = LOCKS.captures(statement)
            && lock.get(1).is_none()
            && there.contains(&lock[2])
        {
            found.insert(Breach::Lock);
        }
        if statement.contains(" CONCURRENTLY ") && (in_transaction || statements.len() > 1) {
            found.insert(Breach::Concurrently);
        }
        let setting = statement.strip_prefix("SET ");
        if setting.is_some_and(|what| !what.starts_with("LOCAL ") && !what.starts_with("CONSTRAINTS ")) {
            found.insert(Breach::Session);
        }
    }
    found
}

#[test]
fn no_migration_holds_up_those_who_use_a_large_table() {
    let known: Vec<Box<dyn Migration<Pg>>> = MIGRATIONS.migrations().expect("migrations");
    let transactional: HashSet<String> = known
        .iter()
        .filter(|migration| migration.metadata().run_in_transaction())
        .map(|migration| migration.name().to_string())
        .collect();
    let mut tables = HashSet::new();
    let mut faults = Vec::new();
    for (name, sql) in TEXTS {
        let found = breaches(sql, &mut tables, transactional.contains(*name));
        let excepted = EXCEPTIONS.iter().find(|(excepted, ..)| excepted == name);
        let excepted: BTreeSet<Breach> =
            excepted.map_or(BTreeSet::new(), |(_, all, _)| all.iter().copied().collect());
        if found != excepted {
            faults.push(format!("{name} does {found:?}, and is excepted for {excepted:?}"));
        }
    }
    assert!(faults.is_empty(), "see the head of this file for what to do instead:\n{}", faults.join("\n"));
    assert!(tables.contains("CONVERSATION_MESSAGES"), "{tables:?}");
    for (excepted, _, why) in EXCEPTIONS {
        assert!(!why.is_empty(), "{excepted} is excepted for a reason");
        assert!(*excepted <= LAST_EXCEPTION, "{excepted} is too new to be excepted");
        assert!(TEXTS.iter().any(|(name, _)| name == excepted), "{excepted} is no migration");
    }
}

#[test]
fn what_holds_others_up_is_known() {
    use Breach::{Concurrently, Index, Lock, Rewrite, Rows, Scan, Session, Unique};
    for (sql, expected) in [
        ("CREATE INDEX i ON t (a);", &[Index][..]),
        ("create unique index i\n  on t (a)", &[Index]),
        ("DROP INDEX i", &[Index]),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", &[]),
        ("CREATE INDEX CONCURRENTLY i ON t (a); SELECT 1", &[Concurrently]),
        (
            "CREATE TABLE n (a int); CREATE INDEX i ON n (a); ALTER TABLE n ADD CONSTRAINT c CHECK (a > 0);",
            &[],
        ),
        ("ALTER TABLE t ADD COLUMN a integer NOT NULL DEFAULT 0", &[]),
        ("ALTER TABLE t ADD COLUMN a timestamptz NOT NULL DEFAULT now()", &[]),
        ("ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid()", &[Rewrite]),
        ("ALTER TABLE t ADD COLUMN a text GENERATED ALWAYS AS (lower(b)) STORED", &[Rewrite]),
        ("ALTER TABLE t ALTER COLUMN a TYPE bigint", &[Rewrite]),
        ("ALTER TABLE t ALTER a SET DATA TYPE bigint", &[Rewrite]),
        ("ALTER TABLE t ADD COLUMN a bigserial", &[Rewrite]),
        ("ALTER TABLE t ADD COLUMN a integer CHECK (a > 0)", &[Scan]),
        ("ALTER TABLE t ALTER COLUMN a SET NOT NULL", &[Scan]),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", &[Scan]),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID, ADD CONSTRAINT d CHECK (b > 0)", &[Scan]),
        ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u (a)", &[Scan]),
        ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u (a) NOT VALID", &[]),
        ("ALTER TABLE t VALIDATE CONSTRAINT c", &[]),
        ("ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)", &[Unique]),
        ("ALTER TABLE t ADD CONSTRAINT c UNIQUE USING INDEX i", &[]),
        ("UPDATE t SET a = 1", &[Rows]),
        ("DELETE FROM t", &[Rows]),
        ("INSERT INTO u (a) SELECT a FROM t", &[Rows]),
        ("INSERT INTO u (a) VALUES (1)", &[]),
        ("LOCK TABLE t", &[Lock]),
        ("TRUNCATE t", &[Lock]),
        ("REINDEX TABLE CONCURRENTLY t", &[]),
        ("SET lock_timeout = '1s'", &[Session]),
        ("SET LOCAL lock_timeout = '1s'", &[]),
        ("-- UPDATE t SET a = 1;\nSELECT 'DROP INDEX i; UPDATE t SET a = 1'", &[]),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ UPDATE t SET a = 1; DROP INDEX i; $$", &[]),
    ] {
        let mut tables = HashSet::from(["T".to_owned()]);
        let found = breaches(sql, &mut tables, false);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{sql}");
    }
    let in_transaction = breaches("CREATE INDEX CONCURRENTLY i ON t (a)", &mut HashSet::new(), true);
    assert_eq!(in_transaction.into_iter().collect::<Vec<_>>(), [Concurrently]);
}
