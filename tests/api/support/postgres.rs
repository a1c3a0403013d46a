//! One Postgres for the whole process, or one Citus, and a database in it for every test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crm_backend::db::embedded::{Durability, Embedded, Options, Storage};
use crm_backend::db::{Target, migrate};
use tokio::task::JoinSet;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::citus::Citus;
use super::statements;
use crate::harness::scratch_root;

/// Connections in all: some twenty for every test that runs at the same time.
const CONNECTIONS: u16 = 400;

/// The tables with a tenant, and views of them.
const TENANT_TABLES: &str = "
    SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')";

/// libtest has no last word, so the last test that uses Postgres stops it.
static SHARED: tokio::sync::Mutex<Weak<Cluster>> = tokio::sync::Mutex::const_new(Weak::new());

/// A running Postgres.
struct Cluster {
    server: Server,
    /// The migrated database that those of the tests are copies of.
    template: String,
    databases: AtomicU64,
    /// Databases of tests that have ended, for the next test to drop.
    discarded: Mutex<Vec<String>>,
}

impl Cluster {
    async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    async fn start() -> Self {
        // Before the first connection to it.
        statements::watch();
        let server = match Citus::of_environment().await {
            Some(citus) => Server::Citus(citus),
            None => Server::Embedded(Self::start_embedded().await),
        };
        // Databases of a Citus outlive this process, and those of a cluster before this one may still be there.
        static CLUSTERS: AtomicU64 = AtomicU64::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let template = format!("tests_{}_{number}", std::process::id());
        let cluster = Self { server, template, databases: AtomicU64::new(0), discarded: Mutex::default() };
        cluster.make_template().await;
        cluster
    }

    async fn start_embedded() -> Embedded {
        let options = Options {
            storage: Storage::Ephemeral(scratch_root()),
            bin_dir: None,
            durability: Durability::Off,
            max_connections: CONNECTIONS,
        };
        let started = tokio::task::spawn_blocking(move || Embedded::start(&options)).await;
        started.expect("no panic").expect("a Postgres to test with")
    }

    async fn make_template(&self) {
        let template = &self.template;
        match &self.server {
            Server::Embedded(embedded) => {
                Sql::connect(embedded.url()).await.run(&format!("CREATE DATABASE {template}")).await;
                let target = Target::parse(&self.url_of(template)).expect("a URL");
                migrate::run(&target).await.expect("the migrations run");
            }
            Server::Citus(citus) => citus.create_template(template).await,
        }
    }

    /// The name of a database that is not there yet.
    fn next_name(&self) -> String {
        format!("{}_{}", self.template, self.databases.fetch_add(1, Ordering::Relaxed))
    }

    /// Copies the template.
    async fn copy(&self, name: &str) {
        let template = &self.template;
        match &self.server {
            Server::Embedded(embedded) => {
                let admin = Sql::connect(embedded.url()).await;
                admin.run(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
            }
            Server::Citus(citus) => citus.copy(template, name).await,
        }
    }

    async fn discard(&self, name: &str) {
        match &self.server {
            Server::Embedded(embedded) => {
                let admin = Sql::connect(embedded.url()).await;
                admin.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
            Server::Citus(citus) => citus.drop(name).await.expect("the database is dropped"),
        }
    }

    fn url_of(&self, database: &str) -> String {
        match &self.server {
            Server::Embedded(embedded) => embedded.url_of(database),
            Server::Citus(citus) => citus.url_of(database),
        }
    }
}

impl Drop for Cluster {
    /// Leaves nothing behind on a server that goes on.
    fn drop(&mut self) {
        let Self { server: Server::Citus(citus), template, discarded, .. } = self else { return };
        let mut left = std::mem::take(&mut *lock(discarded));
        left.push(std::mem::take(template));
        // The test that ends may be within a runtime, which cannot wait.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    for database in left {
                        // A test that failed is to be seen, and not this.
                        if let Err(error) = citus.drop(&database).await {
                            eprintln!("a database of the tests is left: {error}");
                        }
                    }
                });
            });
        });
    }
}

/// What the databases are in.
enum Server {
    Embedded(Embedded),
    Citus(Citus),
}

/// A migrated, empty database of one test.
pub(crate) struct Database {
    name: String,
    cluster: Arc<Cluster>,
}

impl Database {
    /// A new one. Drops those that other tests left.
    pub(crate) async fn create() -> Self {
        let cluster = Cluster::shared().await;
        let name = cluster.next_name();
        let discarded = std::mem::take(&mut *lock(&cluster.discarded));
        for database in discarded {
            cluster.discard(&database).await;
        }
        cluster.copy(&name).await;
        let database = Self { name, cluster };
        statements::know(database.sql().await.texts(TENANT_TABLES).await);
        database
    }

    /// A migrated database of Citus whose tables are not distributed.
    pub(crate) async fn create_local() -> Self {
        let cluster = Cluster::shared().await;
        let name = cluster.next_name();
        let Server::Citus(citus) = &cluster.server else { panic!("there is no Citus") };
        citus.create(&name).await;
        let database = Self { name, cluster };
        migrate::run(&database.target()).await.expect("the migrations run");
        database
    }

    /// Where a worker's part of it is.
    pub(crate) fn url_of_worker(&self) -> String {
        let Server::Citus(citus) = &self.cluster.server else { panic!("there is no Citus") };
        citus.urls_of_workers(&self.name).remove(0)
    }

    /// Where it is.
    pub(crate) fn target(&self) -> Target {
        Target::parse(&self.cluster.url_of(&self.name)).expect("a URL")
    }

    /// Where it is, as DATABASE_URL says it.
    pub(crate) fn url(&self) -> String {
        self.cluster.url_of(&self.name)
    }

    /// Where it is, for somebody who logs in as this role, whose password is its name.
    pub(crate) fn target_of(&self, role: &str) -> Target {
        let mut url: url::Url = self.cluster.url_of(&self.name).parse().expect("a URL");
        url.set_username(role).and_then(|()| url.set_password(Some(role))).expect("a URL with a user");
        Target::parse(url.as_str()).expect("a URL")
    }

    /// Where its server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let url: url::Url = self.url().parse().expect("a URL");
        (Ipv4Addr::LOCALHOST, url.port().expect("a port")).into()
    }

    /// Where it is, by a relay that listens at this port.
    pub(crate) fn target_by(&self, port: u16) -> Target {
        let mut url: url::Url = self.url().parse().expect("a URL");
        url.set_port(Some(port)).expect("a URL with a host");
        Target::parse(url.as_str()).expect("a URL")
    }

    /// The name of a role of this database's test; roles belong to all databases.
    pub(crate) fn role(&self) -> String {
        format!("role_of_{}", self.name)
    }

    /// A connection of the owner to every node, the one that the service connects to last.
    pub(crate) async fn nodes(&self) -> Vec<Sql> {
        let mut nodes = Vec::new();
        if let Server::Citus(citus) = &self.cluster.server {
            for url in citus.urls_of_workers(&self.name) {
                nodes.push(Sql::connect(&url).await);
            }
        }
        nodes.push(self.sql().await);
        nodes
    }

    /// A connection of the owner.
    pub(crate) async fn sql(&self) -> Sql {
        Sql::connect(&self.cluster.url_of(&self.name)).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        lock(&self.cluster.discarded).push(std::mem::take(&mut self.name));
        if !std::thread::panicking() {
            statements::judge();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection for SQL of the test's own.
pub(crate) struct Sql {
    client: tokio_postgres::Client,
    /// Moves the bytes, until it is dropped.
    _driver: JoinSet<()>,
}

/// A row as text; `None` is null.
pub(crate) type Row = Vec<Option<String>>;

impl Sql {
    pub(crate) async fn connect(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("Postgres answers");
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Self { client, _driver: driver }
    }

    /// Runs statements, or says why not.
    pub(crate) async fn try_rows(&self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The rows of all these statements.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Row> {
        self.try_rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.rows(sql).await;
    }

    /// The first column, with nulls left out.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        self.rows(sql).await.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect()
    }

    /// How many statements of the service wait for a lock, on any node.
    pub(crate) async fn waiting(&self) -> i64 {
        // A node of Citus calls itself by another name where the coordinator connects to it.
        const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'
               AND (application_name = 'crm-backend' OR application_name LIKE 'citus_internal%')";
        if Citus::is_there() {
            let of_nodes = format!("run_command_on_all_nodes($command${WAITING}$command$)");
            return self.number(&format!("SELECT sum(result::bigint) FROM {of_nodes}")).await;
        }
        self.number(WAITING).await
    }

    /// The one number that the statement gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let texts = self.texts(sql).await;
        texts.first().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{sql} gave {texts:?}"))
    }
}
