//! The kit does what suites take for granted.

use std::process::Command;

use crm_testkit::certificates::{Ca, Files};
use crm_testkit::cluster::{Database, as_user, count};
use crm_testkit::{Program, Scratch, command, eventually, meter};
use rustix::process::{Signal, getpid};

#[tokio::test]
async fn databases_of_a_cluster_know_nothing_of_each_other() {
    let (one, other) = (Database::new().await, Database::new().await);
    assert_eq!(one.port(), other.port());
    one.execute("CREATE TABLE kept (); CREATE TABLE more ()").await;
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!((count(&one.url(), tables).await, count(&other.url(), tables).await), (2, 0));
    let (user, password) = one.credentials();
    assert_eq!(as_user(&one.url(), &user, &password), one.url());
}

#[test]
fn a_program_is_heard_and_ended_and_leaves_nothing() {
    let scratch = Scratch::of("/bin/sh");
    let root = scratch.path("");
    let script = "echo 'it runs'; echo 'crm-backend: no' >&2; exec sleep 60";
    let mut program = Program::spawn(command(&scratch, &["-c", script]));
    assert_eq!(program.says("it "), "runs");
    eventually("it complains", || program.stderr().contains("no"));
    program.signal(Signal::KILL);
    assert_eq!(program.wait().status.code(), None);
    let ended =
        Program::spawn(command(&scratch, &["-c", "echo 'crm-backend: stop that' >&2; exit 1"])).wait();
    assert_eq!(ended.refused(&["stop"]).trim(), "stop that");
    drop(scratch);
    assert!(!root.exists());
}

#[test]
fn a_process_is_measured_where_it_can_be() {
    let child = Command::new("sleep").arg("60").spawn();
    let mut child = child.expect("a program");
    if cfg!(target_os = "linux") {
        assert!(meter::memory(getpid()).is_some_and(|bytes| bytes > 1 << 20));
        assert!(meter::busy(getpid()).is_some());
        assert!(meter::children(getpid()).iter().any(|pid| pid.as_raw_pid().cast_unsigned() == child.id()));
    }
    child.kill().expect("a program to kill");
    child.wait().expect("an end");
    assert_eq!(meter::mebibytes(3 << 19), "1.5 MiB");
}

#[test]
fn files_of_a_server_are_renewed_in_place() {
    let scratch = Scratch::of("/bin/sh");
    let ca = Ca::generate();
    let files = Files::write(&scratch.path(""), &ca, "localhost");
    let read = || std::fs::read_to_string(&files.certificate).expect("a file");
    let before = read();
    files.renew(&ca, "localhost");
    assert_ne!(read(), before);
    assert_eq!(std::fs::read_to_string(&files.client_ca).expect("a file"), ca.pem());
}
