//! Translates errors of Postgres to errors of this service.
//!
//! diesel-async keeps only an error's text, the names that come with it, and a kind for eight of the SQLSTATEs. The
//! code itself is in a private type. So most conditions are recognized by the beginning of Postgres's English
//! message. The service warns at start if the database uses another language: there, unrecognized errors are
//! INTERNAL.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

use super::{Error, Result};

/// What an error of Postgres means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Postgres is away, does not serve us, or has no disk space or memory left, which an operator must fix: 08*,
    /// 57P0*, 53*, 58030, 25006.
    Away,
    /// A node of Citus cannot be reached by another one, and with it the rows of some tenants: 08006.
    PartAway,
    /// The statement exceeded its time limit: 57014.
    TimedOut,
    /// Another transaction blocked it: 40001, 40P01, 55P03.
    Conflict,
    /// A value that the rules of the contract allow: 23514, 22001, 22003, 22021, 22P02, 22P05.
    Unstorable,
    /// The service has no right to it, above all because of a policy: 42501.
    Forbidden,
    /// Any other error is a bug of this service.
    Fault,
}

/// The beginnings of messages of conditions without a kind. The first match counts.
const BEGINNINGS: [(&str, Meaning); 46] = [
    ("terminating connection", Meaning::Away),
    ("the database system is", Meaning::Away),
    ("sorry, too many clients", Meaning::Away),
    ("remaining connection slots", Meaning::Away),
    ("too many connections", Meaning::Away),
    ("connection to client lost", Meaning::Away),
    // PgBouncer's own words, all of them 08*.
    ("query_wait_timeout", Meaning::Away),
    ("pgbouncer", Meaning::Away),
    ("server conn crashed", Meaning::Away),
    // Also the words of a node of Citus about another one.
    ("server closed the connection unexpectedly", Meaning::PartAway),
    ("server closed the connection", Meaning::Away),
    ("server login", Meaning::Away),
    ("connection to the remote node", Meaning::PartAway),
    ("could not establish ", Meaning::PartAway),
    ("could not connect to any active placements", Meaning::PartAway),
    ("failure on connection marked as essential", Meaning::PartAway),
    // No disk space or memory; some of the first come without the system's own words.
    ("could not extend file", Meaning::Away),
    ("could not write", Meaning::Away),
    ("could not create temporary file", Meaning::Away),
    ("could not fsync file", Meaning::Away),
    ("out of memory", Meaning::Away),
    ("out of shared memory", Meaning::Away),
    ("could not resize shared memory segment", Meaning::Away),
    ("could not fork new process", Meaning::Away),
    ("out of file descriptors", Meaning::Away),
    ("deadlock detected", Meaning::Conflict),
    ("canceling the transaction since it was involved in a distributed deadlock", Meaning::Conflict),
    ("could not obtain lock", Meaning::Conflict),
    ("canceling statement due to lock timeout", Meaning::Conflict),
    ("canceling statement", Meaning::TimedOut),
    ("value too long for type", Meaning::Unstorable),
    ("smallint out of range", Meaning::Unstorable),
    ("integer out of range", Meaning::Unstorable),
    ("bigint out of range", Meaning::Unstorable),
    ("numeric field overflow", Meaning::Unstorable),
    ("value out of range", Meaning::Unstorable),
    ("invalid byte sequence for encoding", Meaning::Unstorable),
    ("character with byte sequence", Meaning::Unstorable),
    ("invalid input syntax", Meaning::Unstorable),
    ("invalid input value for enum", Meaning::Unstorable),
    ("malformed", Meaning::Unstorable),
    ("unsupported Unicode escape sequence", Meaning::Unstorable),
    ("permission denied", Meaning::Forbidden),
    ("new row violates row-level security policy", Meaning::Forbidden),
    ("query would be affected by row-level security policy", Meaning::Forbidden),
    ("must be owner of", Meaning::Forbidden),
];

/// The part of a message about a number that was sent as text, after the number: 22003.
const OUT_OF_RANGE: &str = " is out of range for type ";

/// The end of a Postgres message about any file if a disk or memory is full or fails: 53100, 53200, 58030, and some
/// without a code of their own.
const NO_ROOM: [&str; 5] = [
    ": No space left on device",
    ": Disk quota exceeded",
    ": Read-only file system",
    ": Cannot allocate memory",
    ": Input/output error",
];

/// The error for a value that must not be stored: it stands for a word of an enum that this build does not know.
pub(crate) const UNKNOWN_WORD: &str = "a word of a newer version cannot be written by this one";

/// The words after which Postgres quotes a name of the schema, and never a value.
const BEFORE_NAMES: [&str; 9] =
    ["relation", "table", "column", "constraint", "index", "role", "schema", "sequence", "database"];

/// Only for errors that any statement may have. A missing row or a broken constraint is handled where it can happen,
/// by a `NotFound` or [`OnConstraint`].
impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        let cause = words(&error);
        if matches!(&error, DieselError::SerializationError(why) if why.to_string().contains(UNKNOWN_WORD)) {
            return Self::newer_version();
        }
        let DieselError::DatabaseError(kind, information) = &error else { return Self::internal(cause) };
        match meaning(*kind, information.message()) {
            Meaning::Away => Self::database_unavailable(cause),
            Meaning::PartAway => Self::part_unavailable(cause),
            Meaning::TimedOut => Self::DeadlineExceeded,
            Meaning::Conflict => Self::conflict(),
            Meaning::Unstorable => Self::Unstorable(cause.into()),
            Meaning::Forbidden => Self::Forbidden(cause.into()),
            Meaning::Fault => Self::internal(cause),
        }
    }
}

fn meaning(kind: DatabaseErrorKind, message: &str) -> Meaning {
    use DatabaseErrorKind::{
        CheckViolation, ClosedConnection, ReadOnlyTransaction, SerializationFailure, UnableToSendCommand,
    };
    match kind {
        ClosedConnection | UnableToSendCommand | ReadOnlyTransaction => Meaning::Away,
        SerializationFailure => Meaning::Conflict,
        CheckViolation => Meaning::Unstorable,
        _ if message.contains(OUT_OF_RANGE) => Meaning::Unstorable,
        _ if NO_ROOM.iter().any(|words| message.ends_with(words)) => Meaning::Away,
        _ => {
            let known = BEGINNINGS.iter().find(|(beginning, _)| message.starts_with(beginning));
            known.map_or(Meaning::Fault, |(_, meaning)| *meaning)
        }
    }
}

/// Returns an error for the log: what happened and where, without values of clients.
fn words(error: &DieselError) -> String {
    let text = without_values(&error.to_string()).to_owned();
    match error {
        DieselError::DatabaseError(_, information) => text + &place(information.as_ref()),
        _ => text,
    }
}

/// Returns the names that come with an error.
fn place(information: &dyn DatabaseErrorInformation) -> String {
    let names = [
        ("table", information.table_name()),
        ("column", information.column_name()),
        ("constraint", information.constraint_name()),
    ];
    names.iter().filter_map(|(kind, name)| name.map(|name| format!(", {kind} {name}"))).collect()
}

/// Returns a message up to its first value. Postgres quotes names and values alike, but before a name it says what
/// kind of name it is.
pub(crate) fn without_values(message: &str) -> &str {
    let mut from = 0;
    while let Some(open) = message.get(from..).and_then(|rest| rest.find('"')).map(|at| from + at) {
        let (before, quoted) = (&message[..open], &message[open + 1..]);
        let names = before.split_whitespace().next_back().is_some_and(|word| BEFORE_NAMES.contains(&word));
        match quoted.find('"') {
            Some(length) if names => from = open + 1 + length + 1,
            _ => return before.trim_end(),
        }
    }
    message
}

/// Handles a broken constraint where it can break.
pub trait OnConstraint<T> {
    /// Turns a breach of the constraint `name` into `error`; other errors are converted as usual.
    ///
    /// # Errors
    ///
    /// `error` if the constraint is broken.
    fn on_constraint(self, name: &str, error: impl FnOnce() -> Error) -> Result<T>;
}

impl<T> OnConstraint<T> for diesel::QueryResult<T> {
    fn on_constraint(self, name: &str, error: impl FnOnce() -> Error) -> Result<T> {
        self.map_err(|found| match &found {
            DieselError::DatabaseError(_, information) if broken(information.as_ref()) == Some(name) => {
                error()
            }
            _ => found.into(),
        })
    }
}

/// Returns the constraint that was broken. If a node of Citus reports it, its name is only in the message.
fn broken(information: &dyn DatabaseErrorInformation) -> Option<&str> {
    information.constraint_name().or_else(|| constraint_in(information.message()))
}

/// Returns the constraint that a message names, without the number of the shard that Citus appends.
fn constraint_in(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(" constraint \"")?;
    let (name, _) = rest.split_once('"')?;
    let shard = name.rsplit_once('_').filter(|(_, digits)| digits.bytes().all(|byte| byte.is_ascii_digit()));
    Some(shard.map_or(name, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_known_by_its_kind_or_its_words() {
        use DatabaseErrorKind::{CheckViolation, ReadOnlyTransaction, UniqueViolation, Unknown};
        for (kind, message, expected) in [
            (ReadOnlyTransaction, "cannot execute INSERT in a read-only transaction", Meaning::Away),
            (Unknown, "terminating connection due to administrator command", Meaning::Away),
            (Unknown, "the database system is shutting down", Meaning::Away),
            (Unknown, "query_wait_timeout", Meaning::Away),
            (Unknown, "connection to the remote node crm_app@node:5432 failed", Meaning::PartAway),
            (
                Unknown,
                "canceling the transaction since it was involved in a distributed deadlock",
                Meaning::Conflict,
            ),
            (Unknown, "canceling statement due to lock timeout", Meaning::Conflict),
            (Unknown, "canceling statement due to statement timeout", Meaning::TimedOut),
            (CheckViolation, "anything", Meaning::Unstorable),
            (Unknown, "value \"1e9\" is out of range for type integer", Meaning::Unstorable),
            (Unknown, "timestamp out of range", Meaning::Fault),
            (Unknown, "could not extend file \"base/5/1\": No space left on device", Meaning::Away),
            (
                Unknown,
                "could not extend file \"base/5/1\": wrote only 1 of 8192 bytes at block 7",
                Meaning::Away,
            ),
            (Unknown, "could not open file \"base/5/1\": Read-only file system", Meaning::Away),
            (Unknown, "could not read block 7 in file \"base/5/1\": Input/output error", Meaning::Away),
            (Unknown, "could not open file \"base/5/1\": No such file or directory", Meaning::Fault),
            (
                Unknown,
                "could not read block 7 in file \"base/5/1\": read only 0 of 8192 bytes",
                Meaning::Fault,
            ),
            (Unknown, "out of memory", Meaning::Away),
            (Unknown, "invalid memory alloc request size 1073741824", Meaning::Fault),
            (
                Unknown,
                "character with byte sequence 0xe2 0x82 0xac in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
                Meaning::Unstorable,
            ),
            (Unknown, "permission denied for table customers", Meaning::Forbidden),
            (UniqueViolation, "duplicate key value violates unique constraint \"x\"", Meaning::Fault),
            (Unknown, "the words integer out of range in another place", Meaning::Fault),
        ] {
            assert_eq!(meaning(kind, message), expected, "{message}");
        }
    }

    #[test]
    fn a_constraint_is_found_in_a_message_without_the_number_of_a_shard() {
        for (message, name) in [
            (
                "duplicate key value violates unique constraint \"customers_tenant_id_slug_key_102017\"",
                Some("customers_tenant_id_slug_key"),
            ),
            (
                "insert or update on table \"t_102\" violates foreign key constraint \"t_customer_fkey_102\"",
                Some("t_customer_fkey"),
            ),
            ("duplicate key value violates unique constraint \"customers_pkey\"", Some("customers_pkey")),
            ("division by zero", None),
        ] {
            assert_eq!(constraint_in(message), name);
        }
    }

    #[test]
    fn names_are_kept_and_values_are_not() {
        for (message, kept) in [
            ("division by zero", "division by zero"),
            ("invalid input syntax for type uuid: \"zoe@cafe\"", "invalid input syntax for type uuid:"),
            ("value \"zoe\" is out of range for type integer", "value"),
            (
                "new row for relation \"customers\" violates check constraint \"c\"",
                "new row for relation \"customers\" violates check constraint \"c\"",
            ),
            ("syntax error in tsquery: \"a\" table \"b\"", "syntax error in tsquery:"),
            ("table \"without an end", "table"),
            ("\"Zoë\" is nobody", ""),
        ] {
            assert_eq!(without_values(message), kept);
        }
    }
}
