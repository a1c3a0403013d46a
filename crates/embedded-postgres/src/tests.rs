//! Tests with a real Postgres, any version that the crate finds; they need no client.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::account::Account;
use crate::find::Installation;
use crate::storage::Place;
use crate::{Durability, Embedded, Error, Fault, Options, Storage, cluster, ephemeral, find, server};

/// A directory that is removed at the end of its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(env::temp_dir().join(format!("embedded-postgres-test-{}", uuid::Uuid::new_v4())))
    }

    fn options(&self) -> Options {
        Options { storage: Storage::Persistent(self.0.clone()), ..ephemeral_options() }
    }

    /// Runs a statement while no server runs.
    fn single(&self, statement: &str) -> String {
        let place = Place::open(&self.0).unwrap();
        let binaries = binaries(&place);
        cluster::single(&place, &binaries, &place.pgdata(), Durability::Off, statement).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ephemeral_options() -> Options {
    Options {
        durability: Durability::Off,
        max_connections: 10,
        user: "keeper".to_owned(),
        database: "shop".to_owned(),
        ..Options::new("embedded-postgres-test", Storage::Ephemeral(env::temp_dir()))
    }
}

fn binaries(place: &Place) -> Installation {
    find::find(place.account(), &ephemeral_options(), cluster::major(place).unwrap()).unwrap()
}

/// Whether a Postgres answers: its answer to a request for TLS is one letter, yes or no.
fn answers(port: u16) -> bool {
    let request = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let mut answer = [0];
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(&request)?;
            stream.read_exact(&mut answer)
        })
        .is_ok_and(|()| matches!(answer, [b'N' | b'S']))
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn ephemeral_storage_serves_and_is_gone_at_stop() {
    let server = Embedded::start(&ephemeral_options()).unwrap();
    let (port, dir) = (server.port(), server.data_dir().to_owned());
    assert!(answers(port));
    assert!(server.url().starts_with("postgres://keeper:"));
    assert!(server.url().ends_with(&format!("@127.0.0.1:{port}/shop")));
    assert!(server.url_of("other").ends_with("/other"));
    assert!(!format!("{server:?}").contains(&server.password));
    server.stop();
    assert!(!answers(port));
    assert!(!dir.exists());
}

#[test]
fn persistent_storage_keeps_data_and_password() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.options()).unwrap();
    let password = server.password.clone();
    server.stop();
    let databases = scratch.single("SELECT datname FROM pg_database");
    assert!(databases.contains("\"shop\""), "{databases}");
    scratch.single("CREATE TABLE kept ()");
    let server = Embedded::start(&scratch.options()).unwrap();
    assert_eq!(server.password, password);
    server.stop();
    assert!(scratch.single("SELECT 'kept'::regclass").contains("\"kept\""));
}

#[test]
fn a_second_holder_is_told_who_the_first_is() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.options()).unwrap();
    let refused = Embedded::start(&scratch.options()).unwrap_err();
    let Fault::Held { holder, port, .. } = refused.fault() else {
        panic!("{refused}");
    };
    assert_eq!(*holder, std::process::id().to_string());
    assert_eq!(*port, Some(server.port()));
    assert!(!refused.to_string().contains(&server.password));
}

#[test]
fn a_killed_postgres_is_started_again() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.options()).unwrap();
    kill(server.pid());
    drop(server);
    let server = Embedded::start(&scratch.options()).unwrap();
    assert!(answers(server.port()));
}

#[test]
fn an_orphan_is_stopped_first() {
    let scratch = Scratch::new();
    Embedded::start(&scratch.options()).unwrap().stop();
    let place = Place::open(&scratch.0).unwrap();
    let mut command = cluster::helper(&place, &binaries(&place), "postgres");
    command.arg("-D").arg(place.pgdata());
    // Without the death signal that our own processes have.
    command.args(["-c", "unix_socket_directories="]);
    command.args(["-c", "listen_addresses=127.0.0.1"]);
    let port = server::free_port().unwrap();
    command.arg("-c").arg(format!("port={port}"));
    command.stderr(std::process::Stdio::null());
    let mut orphan = command.spawn().unwrap();
    while !answers(port) {
        assert!(orphan.try_wait().unwrap().is_none(), "it ended by itself");
        thread::sleep(Duration::from_millis(10));
    }
    drop(place);
    let server = Embedded::start(&scratch.options()).unwrap();
    assert!(orphan.try_wait().unwrap().is_some());
    assert!(answers(server.port()));
}

#[test]
fn a_stale_pid_file_with_a_number_in_use_does_not_hinder() {
    let scratch = Scratch::new();
    Embedded::start(&scratch.options()).unwrap().stop();
    let place = Place::open(&scratch.0).unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("60");
    place.account().apply(&mut sleep);
    let mut other = sleep.spawn().unwrap();
    let file = place.pgdata().join("postmaster.pid");
    fs::write(&file, format!("{}\n", other.id())).unwrap();
    place.account().own(&file, 0o600).unwrap();
    drop(place);
    let server = Embedded::start(&scratch.options());
    assert!(other.try_wait().unwrap().is_none(), "it was none of ours");
    kill(other.id());
    other.wait().unwrap();
    assert!(answers(server.unwrap().port()));
}

#[test]
fn half_made_data_is_made_again() {
    let scratch = Scratch::new();
    let half = scratch.0.join("pgdata.new-0");
    fs::create_dir_all(half.join("base")).unwrap();
    let server = Embedded::start(&scratch.options()).unwrap();
    assert!(answers(server.port()) && !half.exists());
}

#[test]
fn a_lost_password_is_replaced() {
    let scratch = Scratch::new();
    let server = Embedded::start(&scratch.options()).unwrap();
    let password = server.password.clone();
    server.stop();
    fs::remove_file(scratch.0.join("password")).unwrap();
    let server = Embedded::start(&scratch.options()).unwrap();
    assert_ne!(server.password, password);
}

#[test]
fn a_failed_start_shows_the_end_of_the_log() {
    let scratch = Scratch::new();
    Embedded::start(&scratch.options()).unwrap().stop();
    let file = scratch.0.join("pgdata/postgresql.conf");
    fs::write(file, "no_such_setting = 1\n").unwrap();
    let failed = Embedded::start(&scratch.options()).unwrap_err();
    assert!(failed.to_string().contains("no_such_setting"), "{failed}");
}

#[test]
fn another_major_version_and_a_foreign_directory_are_refused() {
    let scratch = Scratch::new();
    let pgdata = scratch.0.join("pgdata");
    fs::create_dir_all(&pgdata).unwrap();
    fs::write(pgdata.join("PG_VERSION"), "9\n").unwrap();
    let refused = Embedded::start(&scratch.options()).unwrap_err();
    assert!(matches!(refused.fault(), Fault::WrongMajor { storage: 9, .. }));
    let foreign = Options { storage: Storage::Persistent(pgdata), ..scratch.options() };
    let refused = Embedded::start(&foreign).unwrap_err();
    assert!(matches!(refused.fault(), Fault::ForeignCluster { .. }));
}

#[test]
fn what_a_killed_process_left_is_swept_and_what_is_held_is_not() {
    let left = ephemeral::make(&env::temp_dir(), &ephemeral_options()).unwrap();
    let left_dir = left.root().to_owned();
    let held = ephemeral::make(&env::temp_dir(), &ephemeral_options()).unwrap();
    assert!(left_dir.exists());
    // A killed process releases its lock and removes nothing.
    drop(left);
    let next = ephemeral::make(&env::temp_dir(), &ephemeral_options()).unwrap();
    assert!(!left_dir.exists() && held.root().exists());
    ephemeral::remove(held.root());
    ephemeral::remove(next.root());
}

#[test]
fn a_closed_directory_is_named() {
    let other = Account::Other { name: "somebody".to_owned(), uid: u32::MAX - 7, gid: u32::MAX - 7 };
    let scratch = Scratch::new();
    let inner = scratch.0.join("closed/inner");
    fs::create_dir_all(&inner).unwrap();
    Account::Own.own_outer(&scratch.0.join("closed")).unwrap();
    let fault = other.check_reach(&inner).unwrap_err();
    let refused = Error::new(fault, &ephemeral_options()).to_string();
    assert!(refused.contains("closed") && refused.contains("somebody"), "{refused}");
}
