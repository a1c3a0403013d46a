//! A Citus cluster for tests, if `CRM_TEST_CITUS_URL` names a database of its coordinator that knows its workers.
//! Then every test has a database of its own on all nodes.

use crm_backend::db::{Target, migrate};
use crm_testkit::Sql;
use tokio_postgres::error::SqlState;

/// The variable with the coordinator.
const VARIABLE: &str = "CRM_TEST_CITUS_URL";

/// The shards of a table: enough that tenants of a test are on different nodes, and few, since each test creates all.
const SHARDS: u32 = 4;

/// How often dropping a database is tried. Each time Postgres waits some seconds for sessions to end.
const DROP_ATTEMPTS: u32 = 20;

/// The nodes, each as the URL of a database there.
pub(crate) struct Citus {
    coordinator: url::Url,
    workers: Vec<url::Url>,
}

impl Citus {
    /// Returns the cluster that the environment names.
    pub(crate) async fn of_environment() -> Option<Self> {
        let url = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty())?;
        let coordinator: url::Url = url.parse().expect("a URL");
        let nodes =
            "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 AND isactive ORDER BY nodeid";
        let workers = Sql::connect(&url).await.rows(nodes).await;
        let worker = |row: &Vec<Option<String>>| {
            let [Some(host), Some(port)] = row.as_slice() else { panic!("a node has a name and a port") };
            let mut url = coordinator.clone();
            url.set_host(Some(host)).expect("a host");
            url.set_port(Some(port.parse().expect("a port"))).expect("a URL with a host");
            url
        };
        let workers: Vec<_> = workers.iter().map(worker).collect();
        assert!(!workers.is_empty(), "{VARIABLE} names a coordinator that knows its workers");
        Some(Self { coordinator, workers })
    }

    /// Whether the tests run on Citus.
    pub(crate) fn is_there() -> bool {
        std::env::var(VARIABLE).is_ok_and(|url| !url.is_empty())
    }

    /// Prints that a test needs Citus, and returns true if there is none.
    pub(crate) fn is_missing() -> bool {
        if !Self::is_there() {
            println!("SKIPPED: {VARIABLE} names no coordinator of Citus");
        }
        !Self::is_there()
    }

    /// Prints that a test is for a single Postgres, and returns true if there is Citus.
    pub(crate) fn is_another(what: &str) -> bool {
        if Self::is_there() {
            println!("SKIPPED: {what} of one Postgres, and not of Citus");
        }
        Self::is_there()
    }

    /// Returns the URL of a database.
    pub(crate) fn url_of(&self, database: &str) -> String {
        of(&self.coordinator, database)
    }

    /// Creates a database on every node, and connects the nodes.
    pub(crate) async fn create(&self, database: &str) {
        for node in self.nodes() {
            Sql::connect(node.as_str()).await.run(&format!("CREATE DATABASE {database}")).await;
            let sql = Sql::connect(&of(node, database)).await;
            sql.run("CREATE EXTENSION citus").await;
        }
        let sql = Sql::connect(&self.url_of(database)).await;
        let place =
            |url: &url::Url| format!("'{}', {}", url.host_str().expect("a host"), url.port().unwrap_or(5432));
        sql.run(&format!("SELECT citus_set_coordinator_host({})", place(&self.coordinator))).await;
        for worker in &self.workers {
            sql.run(&format!("SELECT citus_add_node({})", place(worker))).await;
        }
        sql.run(&format!("ALTER DATABASE {database} SET citus.shard_count = {SHARDS}")).await;
    }

    /// Creates a database with distributed tables, as a template for copies.
    pub(crate) async fn create_template(&self, database: &str) {
        self.create(database).await;
        let target = Target::parse(&self.url_of(database)).expect("a URL");
        migrate::run(&target).await.expect("the migrations run");
        let distributed = migrate::distribute(&target).await.expect("the tables are distributed");
        assert_eq!(distributed.left, Vec::<String>::new(), "the user of {VARIABLE} is a superuser");
        // A database with connections cannot be copied, and Citus connects to its own databases.
        for node in self.nodes() {
            let admin = Sql::connect(node.as_str()).await;
            admin.run(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await;
            admin
                .run(&format!(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"
                ))
                .await;
        }
    }

    /// Copies a database on every node: each node has its part.
    pub(crate) async fn copy(&self, template: &str, database: &str) {
        for node in self.nodes() {
            let admin = Sql::connect(node.as_str()).await;
            admin.run(&format!("CREATE DATABASE {database} TEMPLATE {template}")).await;
        }
        // Settings of a database are not copied with it.
        let admin = Sql::connect(self.coordinator.as_str()).await;
        admin.run(&format!("ALTER DATABASE {database} SET citus.propagate_set_commands = 'local'")).await;
        admin.run(&format!("ALTER DATABASE {database} SET citus.shard_count = {SHARDS}")).await;
    }

    /// Drops a database from every node.
    ///
    /// # Errors
    ///
    /// The answer of Postgres to the last of [`DROP_ATTEMPTS`].
    pub(crate) async fn drop(&self, database: &str) -> Result<(), String> {
        for node in self.nodes() {
            drop_from(node, database).await?;
        }
        Ok(())
    }

    /// Returns the URLs of the workers' parts of a database.
    pub(crate) fn urls_of_workers(&self, database: &str) -> Vec<String> {
        self.workers.iter().map(|worker| of(worker, database)).collect()
    }

    /// The coordinator comes last, because it refers to the others.
    fn nodes(&self) -> impl Iterator<Item = &url::Url> {
        self.workers.iter().chain([&self.coordinator])
    }
}

/// Drops a database from a node. A Citus daemon may connect to it meanwhile, so this is tried several times.
async fn drop_from(node: &url::Url, database: &str) -> Result<(), String> {
    let admin = Sql::connect(node.as_str()).await;
    let drop = format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)");
    let mut attempts = 1;
    while let Err(error) = admin.try_rows(&drop).await {
        if attempts == DROP_ATTEMPTS || error.code() != Some(&SqlState::OBJECT_IN_USE) {
            return Err(format!("{drop}: {error:?}"));
        }
        attempts += 1;
        roll_back_prepared(node, &admin, database).await;
    }
    Ok(())
}

/// Ends the transactions that a coordinator prepared on a node and never committed. After a lost connection a daemon
/// would end them, and until then they block the database.
async fn roll_back_prepared(node: &url::Url, admin: &Sql, database: &str) {
    let prepared = format!("SELECT gid FROM pg_prepared_xacts WHERE database = '{database}'");
    let prepared = admin.texts(&prepared).await;
    if prepared.is_empty() {
        return;
    }
    // FORCE has ended the other sessions, and only a session of the same database can do this.
    let sql = Sql::connect(&of(node, database)).await;
    for transaction in prepared {
        // The daemon may have been faster.
        let _ = sql.try_rows(&format!("ROLLBACK PREPARED '{transaction}'")).await;
    }
}

fn of(node: &url::Url, database: &str) -> String {
    let mut url = node.clone();
    url.set_path(database);
    url.into()
}
