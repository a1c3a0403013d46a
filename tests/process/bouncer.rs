//! A real PgBouncer in front of a database, which assigns its sessions per transaction.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crm_testkit::cluster::Database;
use crm_testkit::{Program, Scratch, eventually};
use rustix::process::geteuid;

/// The variable that names a PgBouncer for tests.
const VARIABLE: &str = "CRM_TEST_PGBOUNCER";

/// The first version that can keep prepared statements.
const KEEPS_STATEMENTS: (u32, u32) = (1, 21);

/// Its sessions: fewer than clients, and more than a single client needs at a time.
const SESSIONS: u16 = 4;

/// An account that every system has and that owns nothing. PgBouncer does not run as root.
const NOBODY: &str = "user = nobody";

/// A PgBouncer's program.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    program: PathBuf,
    version: (u32, u32),
}

impl Installation {
    fn of(program: PathBuf) -> Option<Self> {
        let said = Command::new(&program).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let number = said.lines().next()?.strip_prefix("PgBouncer ")?;
        let mut parts = number.split('.').map(str::parse);
        let version = (parts.next()?.ok()?, parts.next()?.ok()?);
        Some(Self { program, version })
    }

    fn keeps_statements(&self) -> bool {
        self.version >= KEEPS_STATEMENTS
    }

    /// Returns all installations: the named one, those in PATH, and that of a Debian package.
    fn all() -> Vec<Self> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).map(|folder| folder.join("pgbouncer"));
        let places = named.into_iter().chain(in_path).chain(["/usr/sbin/pgbouncer".into()]);
        places.filter_map(Self::of).collect()
    }

    /// Returns one that can keep prepared statements. Prints a note if there is none.
    pub(crate) fn new() -> Option<Self> {
        let found = Self::all().into_iter().find(Self::keeps_statements);
        if found.is_none() {
            skipped(&format!("no PgBouncer of 1.21 or newer in PATH, and {VARIABLE} names none"));
        }
        found
    }

    /// Returns one that cannot.
    pub(crate) fn old() -> Option<Self> {
        let found = Self::all().into_iter().find(|found| !found.keeps_statements());
        if found.is_none() {
            skipped("no PgBouncer before 1.21 in PATH; Debian 12 has 1.18");
        }
        found
    }

    /// Starts it in front of a database, with this number of prepared statements per session.
    pub(crate) fn start(&self, scratch: &Scratch, database: &Database, statements: u16) -> Bouncer {
        let port = free_port();
        let (user, password) = database.credentials();
        let name = database.name();
        let keeps = match self.keeps_statements() {
            true => format!("max_prepared_statements = {statements}"),
            false => String::new(),
        };
        let account = if geteuid().is_root() { NOBODY } else { "" };
        let settings = format!(
            "[databases]\n\
             {name} = host=127.0.0.1 port={of_postgres} dbname={name} user={user} password={password}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {SESSIONS}\nmax_client_conn = 500\n{keeps}\n{account}\n",
            of_postgres = database.port(),
        );
        let file = scratch.path(&format!("pgbouncer-{port}.ini"));
        fs::write(&file, settings).expect("a file");
        let mut command = Command::new(&self.program);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::spawn(command);
        eventually("PgBouncer listens", || {
            assert!(program.is_running(), "PgBouncer ended: {}", program.stderr());
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Bouncer { program, url: format!("postgres://{user}@127.0.0.1:{port}/{name}") }
    }
}

/// A running PgBouncer, which ends when it is dropped.
pub(crate) struct Bouncer {
    program: Program,
    url: String,
}

impl Bouncer {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns its log.
    pub(crate) fn log(&self) -> String {
        self.program.stderr()
    }
}

/// Prints why a test was skipped, even if the output of tests is hidden.
fn skipped(reason: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {reason}").expect("standard error");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}
