//! Checks every statement that the service runs in these tests: a database that is distributed by tenant must see the
//! tenant in it.
//!
//! Statements are collected from all connections of this process. At its end each test checks those that are new
//! since the last check. So every statement is checked, in any selection of tests.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet};
use std::fmt::{self, Write};
use std::hash::Hasher;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use diesel::connection::{Instrumentation, InstrumentationEvent, set_default_instrumentation};
use regex::Regex;

use super::leftovers;
use super::shards::violations;

/// The statements about all tenants, by their beginning: no others are allowed. The list may only shrink.
pub(crate) const OF_ALL_TENANTS: [(&str, &str); 8] = [
    (
        "the look at what is watched asks how far conversations have come",
        "SELECT c.tenant_id, c.id, c.last_sequence, c.change_count FROM unnest($1, $2, $3, $4) AS k",
    ),
    (
        "the look at what is watched asks how far messages in progress have come",
        "SELECT d.tenant_id, d.conversation_id, m.sequence, coalesce(m.change, 1) AS since",
    ),
    (
        "the caretaker looks for messages whose lease has run out",
        "SELECT d.tenant_id, d.conversation_id, m.message_key FROM message_drafts AS d",
    ),
    (
        "retention goes from tenant to tenant",
        "SELECT \"audit_events\".\"tenant_id\" FROM \"audit_events\" WHERE",
    ),
    ("reindexing finds its tenants", "SELECT \"reindexing\".\"tenant_id\" FROM \"reindexing\""),
    ("recount counts anew", "DELETE FROM customer_counts"),
    (
        "recount counts anew",
        "INSERT INTO customer_counts (tenant_id, dimension, value, shard, customers) SELECT c.tenant_id",
    ),
    ("the start on Citus asks every node", "SELECT count(*) FROM idempotency_keys WHERE request_id ="),
];

/// The tables with a tenant, and the views of them, from the first database of the run.
static TABLES: OnceLock<BTreeSet<String>> = OnceLock::new();

static COLLECTED: LazyLock<Mutex<Collected>> = LazyLock::new(Mutex::default);

/// All migrations, which concern all tenants.
static MIGRATIONS: LazyLock<String> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let folders =
        std::fs::read_dir(folder).expect("the migrations").map(|entry| entry.expect("a folder").path());
    let files = folders.flat_map(|folder| ["up.sql", "down.sql"].map(|file| folder.join(file)));
    let files = files.map(|file| std::fs::read_to_string(file).expect("a migration"));
    in_a_line(&files.collect::<Vec<_>>().join(" "))
});

#[derive(Default)]
struct Collected {
    /// The [`shape`]s of all statements so far: most statements are known, and checking one takes long.
    shapes: HashSet<u64>,
    seen: HashSet<String>,
    /// The statements that no test has checked yet.
    new: Vec<String>,
}

/// Collects the statements of all connections that are opened from now on.
pub(crate) fn watch() {
    set_default_instrumentation(|| Some(Box::new(Collector))).expect("no other instrumentation");
}

/// Sets the tables with a tenant.
pub(crate) fn know(tables: Vec<String>) {
    let _ = TABLES.set(tables.into_iter().collect());
}

/// Checks the new statements.
pub(crate) fn judge() {
    let Some(tables) = TABLES.get() else { return };
    let new = std::mem::take(&mut collected().new);
    let faults: Vec<_> = new.iter().flat_map(|statement| faults(statement, tables)).collect();
    assert!(faults.is_empty(), "a test of this run made the service run\n{}", faults.join("\n"));
}

/// Returns what is wrong with a message, whose statements are separated by semicolons.
pub(crate) fn faults(message: &str, tables: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for statement in message.split(';').map(str::trim).filter(|statement| mentions(statement, tables)) {
        let found = violations(statement, tables);
        let excepted = OF_ALL_TENANTS.iter().find(|(_, beginning)| statement.starts_with(beginning));
        match (excepted, found.as_slice()) {
            (None, found) => faults.extend(found.iter().map(|fault| format!("{fault}, in: {statement}"))),
            (Some((name, _)), []) => faults.push(format!("no exception is needed any more: {name}")),
            (Some(_), _) => {}
        }
    }
    faults
}

/// Returns how many different statements about tables with a tenant were collected so far.
pub(crate) fn count() -> usize {
    let Some(tables) = TABLES.get() else { return 0 };
    collected().seen.iter().filter(|statement| mentions(statement, tables)).count()
}

/// The tables with a tenant.
pub(crate) fn tables() -> BTreeSet<String> {
    TABLES.get().cloned().unwrap_or_default()
}

/// Whether a statement contains the name of such a table.
fn mentions(statement: &str, tables: &BTreeSet<String>) -> bool {
    let words = statement.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.into_iter().any(|word| tables.contains(word))
}

fn collected() -> std::sync::MutexGuard<'static, Collected> {
    COLLECTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects the statements of a connection.
struct Collector;

impl Instrumentation for Collector {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let InstrumentationEvent::StartQuery { query, .. } = event else { return };
        let mut sql = WithoutBinds(String::new());
        // The error marks the beginning of the values, which are not needed.
        let _ = write!(sql, "{query}");
        let WithoutBinds(sql) = sql;
        if !collected().shapes.insert(shape(&sql)) {
            return;
        }
        leftovers::look_at(&sql);
        if sql.starts_with("BEGIN") || sql.starts_with("SET LOCAL") || sql == "COMMIT" {
            return;
        }
        let statement = without_values(&sql);
        let mut collected = collected();
        if !collected.seen.contains(&statement) && !MIGRATIONS.contains(&in_a_line(&sql)) {
            collected.seen.insert(statement.clone());
            collected.new.push(statement);
        }
    }
}

/// Returns a hash that is the same for statements that differ only in literals.
fn shape(sql: &str) -> u64 {
    /// A placeholder for a digit.
    const DIGIT: u8 = 0;
    let mut hasher = DefaultHasher::new();
    let (mut is_text, mut before) = (false, b' ');
    for byte in sql.bytes() {
        let is_of_name = before.is_ascii_alphanumeric() || b"_$.".contains(&before);
        let is_number = byte.is_ascii_digit() && !is_of_name;
        is_text ^= byte == b'\'';
        if !is_text && !is_number {
            hasher.write_u8(byte);
        }
        before = if is_number { DIGIT } else { byte };
    }
    hasher.finish()
}

/// A statement as it is printed, up to its values.
struct WithoutBinds(String);

impl Write for WithoutBinds {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text == " -- binds: " {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Returns a statement with all literals replaced and single spaces between words: the audit log has its values in
/// the text.
fn without_values(sql: &str) -> String {
    static LITERALS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"'[^']*'").expect("an expression"));
    static NUMBERS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(^|[^\w$.])\d+\b").expect("an expression"));
    let sql = LITERALS.replace_all(sql, "'x'");
    in_a_line(&NUMBERS.replace_all(&sql, "${1}1"))
}

/// Returns a text with single spaces between words.
fn in_a_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
