//! Checks what statements leave on their sessions. Each statement is checked when it is first sent, in every test
//! (see [`statements`](super::statements)). A statement that leaves something on its session ends the run: behind a
//! pooler another client gets the session next.
//!
//! The bus of replicas is not checked. It has a connection of its own, and drops it if it hears nothing.

use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use regex::Regex;

/// The allowed exceptions. This list may only shrink.
const EXCEPTIONS: [&str; 3] = [
    // The first statements of diesel on each connection. Poolers keep both settings for each client, like those that
    // a client sends when it connects.
    "SET TIME ZONE 'UTC'",
    "SET CLIENT_ENCODING TO 'UTF8'",
    // A test's own statement, to hear the signals between replicas.
    "LISTEN crm_live",
];

/// The number of different statements so far.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Checks a statement that comes for the first time, without its values.
pub(super) fn look_at(statement: &str) {
    SEEN.fetch_add(1, Ordering::Relaxed);
    if let Some(what) = left_behind(statement) {
        // A panic would only end a call, which its test might even expect.
        let line = format!("a statement leaves {what} on its session: {statement}");
        writeln!(std::io::stderr(), "{line}").expect("standard error");
        std::process::abort();
    }
}

/// Returns what a statement, or several separated by semicolons, leaves on the session.
fn left_behind(statement: &str) -> Option<&'static str> {
    static LEFT: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
        let begins = |words: &str| format!(r"(?i)(?:^|;)\s*{words}");
        [
            ("a setting", begins(r"RESET\s")),
            ("a setting", r"(?i)\bset_config\s*\([^()]*,\s*(?:false|'f'|'false')\s*\)".to_owned()),
            ("a lock", r"(?i)\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(".to_owned()),
            ("a channel", begins(r"LISTEN\s")),
            ("a temporary object", begins(r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:LOCAL\s+|GLOBAL\s+)?TEMP")),
            ("a temporary object", r"(?i)\bINTO\s+TEMP".to_owned()),
            ("a temporary object", r"(?i)\bpg_temp\.".to_owned()),
            ("a cursor", r"(?i)\bCURSOR\s+WITH\s+HOLD\b".to_owned()),
            ("a prepared statement of SQL", begins(r"PREPARE\s")),
            ("a library", begins(r"LOAD\s")),
        ]
        .map(|(what, pattern)| (what, Regex::new(&pattern).expect("a pattern")))
        .into()
    });
    static SETTING: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)(?:^|;)\s*SET\s+(\w+)").expect("a pattern"));
    if EXCEPTIONS.contains(&statement.trim()) {
        return None;
    }
    // This ends with its transaction.
    let is_local =
        |word: &str| ["LOCAL", "TRANSACTION", "CONSTRAINTS"].contains(&word.to_uppercase().as_str());
    if SETTING.captures_iter(statement).any(|setting| !is_local(&setting[1])) {
        return Some("a setting");
    }
    LEFT.iter().find(|(_, pattern)| pattern.is_match(statement)).map(|(what, _)| *what)
}

#[test]
fn what_is_left_on_a_session_is_known() {
    for (statement, expected) in [
        ("BEGIN; SET LOCAL ROLE crm_app; SET LOCAL app.tenant_id = 'a'", None),
        ("BEGIN; SET ROLE crm_app", Some("a setting")),
        ("set session characteristics as transaction read only", Some("a setting")),
        ("SET TRANSACTION READ ONLY", None),
        ("UPDATE a SET b = 1", None),
        ("UPDATE a\nSET b = 1; SET b = 1", Some("a setting")),
        ("SELECT set_config('a.b', 'c', true)", None),
        ("SELECT set_config('a.b', 'c', false)", Some("a setting")),
        ("SELECT pg_try_advisory_xact_lock(1)", None),
        ("SELECT pg_advisory_xact_lock_shared(1)", None),
        ("SELECT pg_advisory_lock(1)", Some("a lock")),
        ("SELECT pg_try_advisory_lock_shared(1)", Some("a lock")),
        ("LISTEN crm_other", Some("a channel")),
        ("UNLISTEN crm_other", None),
        ("NOTIFY crm_other", None),
        ("CREATE TEMP TABLE a (b int)", Some("a temporary object")),
        ("SELECT 1 INTO TEMPORARY a", Some("a temporary object")),
        ("DECLARE a CURSOR WITH HOLD FOR SELECT 1", Some("a cursor")),
        ("PREPARE a AS SELECT 1", Some("a prepared statement of SQL")),
        ("DISCARD PLANS", None),
    ] {
        assert_eq!(left_behind(statement), expected, "{statement}");
    }
}

/// Checks that the check above sees the service's statements.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_sends_is_looked_at() {
    let crm = super::Crm::start().await;
    crm.tenant().customer("Café Zoë").await;
    assert!(SEEN.load(Ordering::Relaxed) > 10, "statements come by");
}
