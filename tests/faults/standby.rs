//! A hot standby: a copy of a Postgres that follows it until it is promoted.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crm_testkit::{Program, Scratch, eventually, within};
use embedded_postgres::Embedded;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::client::PAUSE;

/// The name under which it follows.
const NAME: &str = "standby";

/// Runs a superuser's SQL whose answer is at most one text.
pub(crate) struct Admin {
    client: tokio_postgres::Client,
    _driver: JoinSet<()>,
}

impl Admin {
    pub(crate) async fn connect(url: &str) -> Self {
        within(async {
            loop {
                if let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await {
                    let mut driver = JoinSet::new();
                    driver.spawn(async move { drop(connection.await) });
                    return Self { client, _driver: driver };
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await
    }

    /// Returns the first value of the first row; empty if there is none.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let messages = within(self.client.simple_query(sql)).await.expect(sql);
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        row.unwrap_or_default()
    }

    /// Waits until a query has this answer.
    pub(crate) async fn until(&self, sql: &str, answer: &str) {
        within(async {
            while self.text(sql).await != answer {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }
}

/// A running standby, which ends when this is dropped.
pub(crate) struct Standby {
    program: Program,
    port: u16,
    url: String,
}

impl Standby {
    /// Copies a Postgres, and follows it.
    pub(crate) async fn of(primary: &Embedded, scratch: &Scratch) -> Self {
        let admin = Admin::connect(primary.url()).await;
        let (of_primary, copy) = (primary.data_dir().join("pgdata"), scratch.path(NAME));
        // Each step in two ways, of which one is that of Postgres 14.
        let is_old = admin.text("SHOW server_version_num").await.starts_with("14");
        admin
            .text(if is_old {
                "SELECT pg_start_backup('standby', true, false)"
            } else {
                "SELECT pg_backup_start('standby', true)"
            })
            .await;
        let copied = Command::new("cp").arg("-a").arg(&of_primary).arg(&copy).output().expect("cp runs");
        // Files that Postgres created and removed meanwhile do not belong to the copy.
        assert!(copy.join("PG_VERSION").exists(), "{}", String::from_utf8_lossy(&copied.stderr));
        let label = admin
            .text(if is_old {
                "SELECT labelfile FROM pg_stop_backup(false)"
            } else {
                "SELECT labelfile FROM pg_backup_stop()"
            })
            .await;
        for left in ["postmaster.pid", "postmaster.opts"] {
            let _ = fs::remove_file(copy.join(left));
        }
        let (user, password) = credentials(primary.url());
        let follow = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user={user} password={password} application_name={NAME}'\n",
            primary.port()
        );
        let settings = fs::read_to_string(copy.join("postgresql.auto.conf")).unwrap_or_default();
        for (file, text) in [
            ("postgresql.auto.conf", settings + &follow),
            ("backup_label", label),
            ("standby.signal", String::new()),
        ] {
            write_as_owner_of(&copy, &copy.join(file), &text);
        }
        let connections = admin.text("SHOW max_connections").await;
        let (program, port) = start(&primary.bin_dir().join("postgres"), &copy, &connections);
        let url = format!("postgres://{user}:{password}@127.0.0.1:{port}/crm");
        let standby = Self { program, port, url };
        admin.until("SELECT state FROM pg_stat_replication", "streaming").await;
        standby
    }

    /// The address.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The URL of the database here.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Makes every COMMIT of the primary wait for the standby.
    pub(crate) async fn synchronize(&self, primary: &Embedded) {
        let admin = Admin::connect(primary.url()).await;
        admin.text("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        admin.text("SELECT pg_reload_conf()").await;
        admin.until("SELECT sync_state FROM pg_stat_replication", "sync").await;
    }

    /// Returns a URL of the database with two hosts: the given one first, and this one second.
    pub(crate) fn url_after(&self, first: SocketAddr) -> String {
        let (user, password) = credentials(&self.url);
        format!("postgres://{user}:{password}@{first},127.0.0.1:{}/crm?sslmode=disable", self.port)
    }

    /// Promotes it, and returns once it accepts writes.
    pub(crate) async fn promote(&self) {
        let admin = Admin::connect(&self.url).await;
        assert_eq!(admin.text("SELECT pg_promote(true, 60)").await, "t");
    }

    pub(crate) fn end(&mut self) {
        if self.program.is_running() {
            self.program.signal(Signal::QUIT);
            eventually("the standby ends", || !self.program.is_running());
        }
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a Postgres as the owner of its files.
fn start(postgres: &Path, data: &Path, connections: &str) -> (Program, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let owner = fs::metadata(data).expect("a directory");
    let mut command = Command::new(postgres);
    command.arg("-D").arg(data).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for setting in [
        "listen_addresses=127.0.0.1",
        &format!("port={port}"),
        "unix_socket_directories=",
        &format!("max_connections={connections}"),
        "jit=off",
    ] {
        command.arg("-c").arg(setting);
    }
    command.env("LC_ALL", "C");
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let mut program = Program::spawn(command);
    eventually("the standby takes connections", || {
        assert!(program.is_running(), "it ended: {}", program.stderr());
        program.stderr().contains("ready to accept read-only connections")
    });
    (program, port)
}

fn write_as_owner_of(owner: &Path, file: &Path, text: &str) {
    fs::write(file, text).expect("a file");
    let owner = fs::metadata(owner).expect("a directory");
    chown(file, Some(owner.uid()), Some(owner.gid())).expect("an owner");
}

fn credentials(url: &str) -> (String, String) {
    let (user, _) = url.trim_start_matches("postgres://").split_once('@').expect("a URL with a user");
    let (user, password) = user.split_once(':').expect("a password");
    (user.to_owned(), password.to_owned())
}
