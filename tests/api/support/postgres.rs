//! One Postgres for the whole process, or one Citus, and a database in it for every test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crm_backend::db::{Target, migrate};
use crm_testkit::Sql;
use crm_testkit::cluster::ephemeral_options;
use embedded_postgres::Embedded;

use super::citus::Citus;
use super::statements;

/// The total number of connections: some twenty for every parallel test.
const CONNECTIONS: u16 = 400;

/// The tables with a tenant, and the views of them.
const TENANT_TABLES: &str = "
    SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')";

/// libtest has no hook for the end of a run, so the last test that uses Postgres stops it.
static SHARED: tokio::sync::Mutex<Weak<Cluster>> = tokio::sync::Mutex::const_new(Weak::new());

/// A running Postgres.
struct Cluster {
    server: Server,
    /// The migrated database from which the databases of tests are copied.
    template: String,
    databases: AtomicU64,
    /// The databases of ended tests, which the next test drops.
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
        // Before the first connection.
        statements::watch();
        let server = match Citus::of_environment().await {
            Some(citus) => Server::Citus(citus),
            None => Server::Embedded(Self::start_embedded().await),
        };
        // Databases on Citus outlive this process, and those of an earlier cluster may still exist.
        static CLUSTERS: AtomicU64 = AtomicU64::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let template = format!("tests_{}_{number}", std::process::id());
        let cluster = Self { server, template, databases: AtomicU64::new(0), discarded: Mutex::default() };
        cluster.make_template().await;
        cluster
    }

    async fn start_embedded() -> Embedded {
        let started =
            tokio::task::spawn_blocking(move || Embedded::start(&ephemeral_options(CONNECTIONS))).await;
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

    /// Returns an unused database name.
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
    /// Removes everything from a server that keeps running.
    fn drop(&mut self) {
        let Self { server: Server::Citus(citus), template, discarded, .. } = self else { return };
        let mut left = std::mem::take(&mut *lock(discarded));
        left.push(std::mem::take(template));
        // The ending test may be within a runtime, where waiting is not possible.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    for database in left {
                        // This must not hide the failure of a test.
                        if let Err(error) = citus.drop(&database).await {
                            eprintln!("a database of the tests is left: {error}");
                        }
                    }
                });
            });
        });
    }
}

/// The server of the databases.
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
    /// Creates a database. Drops those that ended tests left.
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

    /// Creates a migrated database on Citus whose tables are not distributed.
    pub(crate) async fn create_local() -> Self {
        let cluster = Cluster::shared().await;
        let name = cluster.next_name();
        let Server::Citus(citus) = &cluster.server else { panic!("there is no Citus") };
        citus.create(&name).await;
        let database = Self { name, cluster };
        migrate::run(&database.target()).await.expect("the migrations run");
        database
    }

    /// Returns the URL of a worker's part of it.
    pub(crate) fn url_of_worker(&self) -> String {
        let Server::Citus(citus) = &self.cluster.server else { panic!("there is no Citus") };
        citus.urls_of_workers(&self.name).remove(0)
    }

    /// Returns its target.
    pub(crate) fn target(&self) -> Target {
        Target::parse(&self.cluster.url_of(&self.name)).expect("a URL")
    }

    /// Returns its URL, as for DATABASE_URL.
    pub(crate) fn url(&self) -> String {
        self.cluster.url_of(&self.name)
    }

    /// Returns its target for a login with this role, whose password is its name.
    pub(crate) fn target_of(&self, role: &str) -> Target {
        let mut url: url::Url = self.cluster.url_of(&self.name).parse().expect("a URL");
        url.set_username(role).and_then(|()| url.set_password(Some(role))).expect("a URL with a user");
        Target::parse(url.as_str()).expect("a URL")
    }

    /// Returns the address of its server.
    pub(crate) fn address(&self) -> SocketAddr {
        let url: url::Url = self.url().parse().expect("a URL");
        (Ipv4Addr::LOCALHOST, url.port().expect("a port")).into()
    }

    /// Returns its target through a relay at this port.
    pub(crate) fn target_by(&self, port: u16) -> Target {
        let mut url: url::Url = self.url().parse().expect("a URL");
        url.set_port(Some(port)).expect("a URL with a host");
        Target::parse(url.as_str()).expect("a URL")
    }

    /// Returns the name of a role for this database's test; roles belong to the whole cluster.
    pub(crate) fn role(&self) -> String {
        format!("role_of_{}", self.name)
    }

    /// Opens a connection as the owner to every node; the node of the service's connections comes last.
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

    /// Opens a connection as the owner.
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

/// Returns how many statements of the service wait for a lock, on all nodes.
pub(crate) async fn waiting_statements(sql: &Sql) -> i64 {
    // On a Citus node, connections from other nodes have another application name.
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'
           AND (application_name = 'crm-backend' OR application_name LIKE 'citus_internal%')";
    if Citus::is_there() {
        let of_nodes = format!("run_command_on_all_nodes($command${WAITING}$command$)");
        return sql.number(&format!("SELECT sum(result::bigint) FROM {of_nodes}")).await;
    }
    sql.number(WAITING).await
}
