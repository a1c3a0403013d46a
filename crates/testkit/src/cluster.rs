//! A separately run Postgres, for DATABASE_URL.

use std::sync::{Arc, Mutex, Weak};

use embedded_postgres::{Durability, Embedded, Options, Storage};
use uuid::Uuid;

use crate::patience::within;
use crate::scratch::scratch_root;
use crate::sql::Sql;

/// Enough for the programs of all tests that run at the same time.
const CONNECTIONS: u16 = 200;

/// The service, which keeps its downloads of Postgres under this name.
const PROGRAM: &str = "crm-backend";

/// The names of the superuser and of the database of the service's own Postgres.
const NAME: &str = "crm";

/// Returns options of a Postgres like the service's own.
pub fn options(storage: Storage) -> Options {
    Options { user: NAME.to_owned(), database: NAME.to_owned(), ..Options::new(PROGRAM, storage) }
}

/// Returns options of a Postgres with room for many tests, without durability, that leaves nothing behind.
pub fn ephemeral_options(max_connections: u16) -> Options {
    let storage = Storage::Ephemeral(scratch_root());
    Options { durability: Durability::Off, max_connections, ..options(storage) }
}

/// Starts one for a single test, for properties of the whole cluster, such as roles.
pub fn own() -> Embedded {
    Embedded::start(&ephemeral_options(CONNECTIONS)).expect("a Postgres")
}

/// A database of its own, in a cluster that tests share while any of them runs.
pub struct Database {
    cluster: Arc<Embedded>,
    name: String,
}

impl Database {
    /// Creates one.
    pub async fn new() -> Self {
        let cluster = shared();
        let name = format!("crm_{}", Uuid::new_v4().simple());
        execute(cluster.url(), &format!("CREATE DATABASE {name}")).await;
        Self { cluster, name }
    }

    /// Its URL, as the superuser.
    pub fn url(&self) -> String {
        self.cluster.url_of(&self.name)
    }

    /// The superuser and its password.
    pub fn credentials(&self) -> (String, String) {
        let url = self.url();
        let (user, _) = url.trim_start_matches("postgres://").split_once('@').expect("a URL with a user");
        let (user, password) = user.split_once(':').expect("a password");
        (user.to_owned(), password.to_owned())
    }

    /// The port of its cluster on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements without results, as the superuser.
    pub async fn execute(&self, sql: &str) {
        execute(&self.url(), sql).await;
    }
}

/// The last test that holds it stops it.
fn shared() -> Arc<Embedded> {
    static SHARED: Mutex<Weak<Embedded>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().expect("a lock");
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(own());
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

/// Runs statements without results.
pub async fn execute(url: &str, sql: &str) {
    within(async { Sql::connect(url).await.run(sql).await }).await;
}

/// Returns the number that a statement returns.
pub async fn count(url: &str, sql: &str) -> i64 {
    within(async { Sql::connect(url).await.number(sql).await }).await
}

/// The same URL for another user.
pub fn as_user(url: &str, user: &str, password: &str) -> String {
    let (_, place) = url.split_once('@').expect("a URL with a user");
    format!("postgres://{user}:{password}@{place}")
}
