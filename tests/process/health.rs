//! A service that serves but has a problem reports it, with the cause.

use std::time::Duration;

use crm_testkit::{LIMIT, Scratch, within};
use tokio::task::JoinSet;
use tokio_postgres::{Client as Sql, NoTls};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;

use super::client::Client;
use super::metrics::Scraped;
use super::scratch;

/// The time between two checks.
const POLL: Duration = Duration::from_millis(50);

/// Blocks calls that read customers.
const LOCK: &str = "BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE";

/// Returns the health status for this name.
async fn status(client: &Client, name: &str) -> ServingStatus {
    let mut health = HealthClient::new(client.channel.clone());
    let request = HealthCheckRequest { service: name.to_owned() };
    within(health.check(request)).await.expect("a known name").into_inner().status()
}

/// Waits until this state and these causes are reported.
async fn becomes(scraped: &Scraped, state: &str, causes: &[&str]) {
    let holds = || {
        let scrape = scraped.scrape();
        let holds = |series: String| scrape.value(&series) == Some(1.0);
        holds(format!("crm_health_state{{state=\"{state}\"}}"))
            && ["bus", "lane", "pool", "standby"].iter().all(|cause| {
                holds(format!("crm_health_degraded{{cause=\"{cause}\"}}")) == causes.contains(cause)
            })
    };
    let became = async {
        while !holds() {
            tokio::time::sleep(POLL).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, became).await;
    assert!(waited.is_ok(), "not {state} for {causes:?}: {}", scraped.server.program.stderr());
}

/// Opens a connection as the database's owner, which ends with the tasks.
async fn sql(scratch: &Scratch, tasks: &mut JoinSet<()>) -> Sql {
    let connected = within(tokio_postgres::connect(&scratch.postgres_url(), NoTls)).await;
    let (sql, connection) = connected.expect("a connection");
    tasks.spawn(async move { drop(connection.await) });
    sql
}

fn start(scratch: &Scratch, more: &[&str]) -> Scraped {
    let data_dir = scratch.data_dir();
    let data_dir = data_dir.to_str().expect("a path of letters");
    Scraped::start_with(scratch, &[&["--data-dir", data_dir], more].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_and_a_stuck_batch_are_told_apart_from_a_lost_database() {
    let scratch = scratch();
    let long = "60000";
    let scraped = start(
        &scratch,
        &["--database-connections", "1", "--database-wait", long, "--transaction-limit", long],
    );
    let mut client = Client::connect(scraped.server.address).await;
    let customer = client.create_customer("Café Zoë").await;
    becomes(&scraped, "ready", &[]).await;
    for name in ["", "liveness", "readiness", "crm.v1.CustomerService", "crm.health.pool", "crm.health.lane"]
    {
        assert_eq!(status(&client, name).await, Serving, "{name}");
    }

    let mut tasks = JoinSet::new();
    let owner = sql(&scratch, &mut tasks).await;
    within(owner.batch_execute(LOCK)).await.expect("a lock");
    let (mut looks_up, id) = (client.clone(), customer.id.clone());
    tasks.spawn(async move {
        looks_up.get_customer(&id).await.expect("a customer, in the end");
    });
    let mut lists = client.clone();
    tasks.spawn(async move {
        assert_eq!(lists.list_customers().await.len(), 1);
    });
    becomes(&scraped, "degraded", &["lane", "pool"]).await;
    for (name, expected) in [
        ("", Serving),
        ("readiness", Serving),
        ("crm.health.pool", NotServing),
        ("crm.health.lane", NotServing),
        ("crm.health.bus", Serving),
        ("crm.health.standby", Serving),
    ] {
        assert_eq!(status(&client, name).await, expected, "{name}");
    }

    within(owner.batch_execute("ROLLBACK")).await.expect("an end");
    becomes(&scraped, "ready", &[]).await;
    assert_eq!(status(&client, "crm.health.pool").await, Serving);
    drop(owner);
    while let Some(ended) = within(tasks.join_next()).await {
        ended.expect("no panic");
    }
    let ended = scraped.server.terminate();
    ended.succeeded();
    let told: Vec<_> = ended.stderr.lines().filter(|line| line.contains("not as it must be")).collect();
    let is_told = told.iter().any(|line| line.contains(r#""causes":"lane,pool""#));
    assert!(is_told && told.iter().all(|line| line.contains("degraded")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_a_lost_standby_is_told() {
    let scratch = scratch();
    let scraped = start(&scratch, &[]);
    let client = Client::connect(scraped.server.address).await;
    let mut tasks = JoinSet::new();
    let owner = sql(&scratch, &mut tasks).await;
    let execute = async |statement: &str| within(owner.batch_execute(statement)).await.expect("a setting");
    execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    execute("SELECT pg_reload_conf()").await;
    let mut writes = client.clone();
    tasks.spawn(async move {
        // The settings take effect a moment after they were changed.
        for number in 0.. {
            let added =
                tokio::time::timeout(LIMIT, writes.try_create_customer(&format!("Zoë {number}"))).await;
            if added.expect("an answer in time").is_err_and(|refusal| refusal.code() == Code::Unavailable) {
                return;
            }
        }
    });
    becomes(&scraped, "degraded", &["standby"]).await;
    assert_eq!(status(&client, "crm.health.standby").await, NotServing);
    assert_eq!(status(&client, "").await, Serving, "it serves who reads");
    let mut reads = client.clone();
    reads.list_customers().await;

    execute("ALTER SYSTEM RESET synchronous_standby_names").await;
    execute("SELECT pg_reload_conf()").await;
    tasks.abort_all();
    becomes(&scraped, "ready", &[]).await;
    drop(owner);
    while within(tasks.join_next()).await.is_some() {}
    scraped.server.terminate().succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_ends_is_draining_as_long_as_calls_finish() {
    let scratch = scratch();
    let scraped = start(&scratch, &[]);
    let client = Client::connect(scraped.server.address).await;
    let mut tasks = JoinSet::new();
    let owner = sql(&scratch, &mut tasks).await;
    within(owner.batch_execute(LOCK)).await.expect("a lock");
    let mut lists = client.clone();
    let call = tasks.spawn(async move {
        assert!(lists.list_customers().await.is_empty());
    });
    while scraped.scrape().value("crm_calls_in_flight{kind=\"unary\"}") != Some(1.0) {
        tokio::time::sleep(POLL).await;
    }
    scraped.server.program.signal(rustix::process::Signal::TERM);
    becomes(&scraped, "draining", &[]).await;
    assert!(!call.is_finished());
    within(owner.batch_execute("ROLLBACK")).await.expect("an end");
    drop((owner, client));
    while let Some(ended) = within(tasks.join_next()).await {
        ended.expect("no panic");
    }
    scraped.server.program.wait().succeeded();
}
