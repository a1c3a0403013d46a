//! The schema on Citus, if one is available for tests: its distribution, and the refusal to serve if it is wrong. All
//! other tests check the service's answers on it.

use crm_backend::db::{Target, migrate};
use crm_backend::server;
use tokio::task::JoinSet;

use crate::support::citus::Citus;
use crate::support::postgres::Database;
use crate::support::service::defaults;
use crate::support::{Crm, Settings, eventually};

async fn distribute(target: &Target) -> Vec<String> {
    let distributed = migrate::distribute(target).await.expect("distributed");
    assert_eq!(distributed.left, [""; 0], "a superuser does all of it");
    let (last, others) = distributed.hba.split_last().expect("lines");
    assert!(last.ends_with("crm_app  all  reject"), "{last}");
    assert!(!others.is_empty() && others.iter().all(|line| line.ends_with("trust")), "{others:?}");
    distributed.tables
}

/// Returns why the service does not serve from a database.
async fn refusal(target: Target) -> String {
    match server::open(target, &defaults().database).await {
        Ok(_) => panic!("it would serve"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_distributed_with_their_rows_once_and_migrated_on() {
    if Citus::is_missing() {
        return;
    }
    let database = Database::create_local().await;
    let (target, sql) = (database.target(), database.sql().await);
    let mut crm = Crm::over(database, Settings::default()).await;
    let tenants = [crm.tenant(), crm.tenant(), crm.tenant()];
    for tenant in &tenants {
        tenant.customer("Bakery").await;
        tenant.conversation().await;
    }
    crm.shut_down().await.expect("a clean end");
    let tables = distribute(&target).await;
    assert!(tables.len() > 20, "{tables:?}");
    assert_eq!(distribute(&target).await, [""; 0], "nothing is left to distribute");
    let left = "SELECT count(*) FROM pg_class WHERE relname = 'customers' AND relpages > 0";
    sql.run("VACUUM customers").await;
    assert_eq!(sql.number(left).await, 0, "the coordinator has no rows of its own");

    // A migration of a later version, which adds a table and writes to others.
    sql.run("DROP TABLE reindexing; DELETE FROM __diesel_schema_migrations WHERE version = '20261129000015'")
        .await;
    let applied = migrate::run(&target).await.expect("migrated");
    assert!(matches!(applied.as_slice(), [name] if name.ends_with("folding")), "{applied:?}");
    let is_distributed = "SELECT count(*) FROM pg_dist_partition WHERE logicalrelid = 'reindexing'::regclass";
    assert_eq!(sql.number(is_distributed).await, 1);
    assert_eq!(sql.number("SELECT count(*) FROM reindexing").await, 3);

    let replica = crm.replica().await;
    for tenant in &tenants {
        let tenant = tenant.through(&replica);
        let page = tenant.list(Default::default()).await.expect("a page");
        assert!(page.customers.iter().any(|customer| customer.business_name == "Bakery"), "{page:?}");
        tenant.customer("Butcher").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_does_not_serve_from_a_citus_that_is_not_set_up() {
    if Citus::is_missing() {
        return;
    }
    let database = Database::create().await;
    let sql = database.sql().await;
    let worker = refusal(Target::parse(&database.url_of_worker()).expect("a URL")).await;
    assert!(worker.contains("name the coordinator"), "{worker}");

    let name = sql.texts("SELECT current_database()").await.remove(0);
    sql.run(&format!("ALTER DATABASE {name} RESET citus.propagate_set_commands")).await;
    let alone = refusal(database.target()).await;
    assert!(alone.contains("citus.propagate_set_commands = 'local'"), "{alone}");
    sql.run(&format!("ALTER DATABASE {name} SET citus.propagate_set_commands = 'local'")).await;

    sql.run("SELECT undistribute_table('reindexing')").await;
    let partly = refusal(database.target()).await;
    assert!(partly.contains("run crm-backend migrate --distribute"), "{partly}");
    assert_eq!(distribute(&database.target()).await, ["reindexing"]);
    server::open(database.target(), &defaults().database).await.expect("it serves again");
}

/// Two operators who distribute, and a replica that starts meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn who_distributes_or_starts_waits_for_who_distributes() {
    if Citus::is_missing() {
        return;
    }
    let database = Database::create_local().await;
    let (target, sql) = (database.target(), database.sql().await);
    let mut both = JoinSet::new();
    for _ in 0..2 {
        let target = target.clone();
        both.spawn(async move { distribute(&target).await });
    }
    let count = "SELECT count(*) FROM pg_dist_partition WHERE partmethod = 'h'";
    eventually("it has begun", async || sql.number(count).await > 0).await;
    server::open(target, &defaults().database).await.expect("it serves");
    let distributed = sql.number(count).await;
    let tables: Vec<_> = both.join_all().await.into_iter().flatten().collect();
    assert_eq!(
        i64::try_from(tables.len()),
        Ok(distributed),
        "all tables before the replica served, and each once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_distributed_where_there_is_no_citus() {
    if Citus::is_there() {
        return;
    }
    let database = Database::create().await;
    let refused = migrate::distribute(&database.target()).await.expect_err("no extension").to_string();
    assert!(refused.contains("CREATE EXTENSION citus"), "{refused}");
    server::open(database.target(), &defaults().database).await.expect("it serves");
}
