//! A separately run Postgres, for DATABASE_URL.

use std::sync::{Arc, Mutex, Weak};

use crm_backend::db::{Target, own as own_postgres};
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use embedded_postgres::{Durability, Embedded, Options, Storage};
use uuid::Uuid;

use super::client::within;
use super::harness::scratch_root;

/// Enough for the programs of all tests that run at the same time.
const CONNECTIONS: u16 = 200;

/// Starts one for a single test, for properties of the whole cluster, such as roles.
pub(crate) fn own() -> Embedded {
    let options = Options {
        durability: Durability::Off,
        max_connections: CONNECTIONS,
        ..own_postgres::options(Storage::Ephemeral(scratch_root()))
    };
    Embedded::start(&options).expect("a Postgres")
}

/// A database of its own, in a cluster that tests share while any of them runs.
pub(crate) struct Database {
    cluster: Arc<Embedded>,
    name: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let cluster = shared();
        let name = format!("crm_{}", Uuid::new_v4().simple());
        execute(cluster.url(), &format!("CREATE DATABASE {name}")).await;
        Self { cluster, name }
    }

    /// Its URL, as the superuser.
    pub(crate) fn url(&self) -> String {
        self.cluster.url_of(&self.name)
    }

    /// The superuser and its password.
    pub(crate) fn credentials(&self) -> (String, String) {
        let url = self.url();
        let (user, _) = url.trim_start_matches("postgres://").split_once('@').expect("a URL with a user");
        let (user, password) = user.split_once(':').expect("a password");
        (user.to_owned(), password.to_owned())
    }

    pub(crate) fn port(&self) -> u16 {
        self.cluster.port()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn execute(&self, sql: &str) {
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
pub(crate) async fn execute(url: &str, sql: &str) {
    let target = Target::parse(url).expect("a URL");
    let mut connection = within(target.open_bare()).await.expect("a connection");
    within(connection.batch_execute(sql)).await.expect(sql);
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Returns the number that a statement returns as `count`.
pub(crate) async fn count(url: &str, sql: &str) -> i64 {
    let target = Target::parse(url).expect("a URL");
    let mut connection = within(target.open_bare()).await.expect("a connection");
    let count: Count = within(diesel::sql_query(sql).get_result(&mut connection)).await.expect(sql);
    count.count
}

/// The same URL for another user.
pub(crate) fn as_user(url: &str, user: &str, password: &str) -> String {
    let (_, place) = url.split_once('@').expect("a URL with a user");
    format!("postgres://{user}:{password}@{place}")
}
