//! Migrations, as an operator runs them: shown before they run, run past a pooler, and awaited.

use crm_backend::db::Target;
use crm_testkit::cluster::{Database, as_user, count};
use crm_testkit::{Program, Server, command, eventually, run, within};
use diesel_async::SimpleAsyncConnection;

use super::scratch;

const TABLES: &str = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_missing_is_told_by_the_exit_code_and_by_name_and_nothing_is_done() {
    let (scratch, database) = (scratch(), Database::new().await);
    let url = database.url();
    let ended = run(&scratch, &["migrate", "--check", "--database-url", &url]);
    assert_eq!(ended.status.code(), Some(3), "{}\n{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.starts_with("missing: ") && ended.stdout.contains("_foundation, "),
        "{}",
        ended.stdout
    );
    assert_eq!(count(&url, TABLES).await, 0);
    run(&scratch, &["migrate", "--database-url", &url]).succeeded();
    let ended = run(&scratch, &["migrate", "--check", "--database-url", &url]);
    ended.succeeded();
    assert!(ended.stdout.starts_with("up to date at "), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_sql_of_a_dry_run_brings_the_schema_up_to_date() {
    let (scratch, database) = (scratch(), Database::new().await);
    let url = database.url();
    let printed = run(&scratch, &["migrate", "--dry-run", "--database-url", &url]);
    printed.succeeded();
    assert_eq!(count(&url, TABLES).await, 0, "nothing was done");
    database.execute(&printed.stdout).await;
    run(&scratch, &["migrate", "--check", "--database-url", &url]).succeeded();
    let nothing = run(&scratch, &["migrate", "--dry-run", "--database-url", &url]);
    nothing.succeeded();
    assert_eq!(nothing.stdout, "-- Nothing is missing.\n");
    Server::start_with(&scratch, &["--database-url", &url]).terminate().succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn migrations_go_through_a_url_of_their_own_if_there_is_something_to_do() {
    let (scratch, database) = (scratch(), Database::new().await);
    let (url, nowhere) = (database.url(), "postgres://crm@127.0.0.1:1/crm");
    let start = |migrations: &str| {
        let arguments =
            ["--listen", "127.0.0.1:0", "--database-url", &url, "--migrate-database-url", migrations];
        Program::spawn(command(&scratch, &arguments))
    };
    start(nowhere).wait().refused(&["127.0.0.1:1/crm", "CRM_MIGRATE_DATABASE_URL"]);
    let owner = as_user(&url, "nobody", "hunter2");
    let words = start(&owner).wait();
    assert!(!words.refused(&[database.name(), "CRM_MIGRATE_DATABASE_URL"]).contains("hunter2"));
    start("crm").wait().refused(&["CRM_MIGRATE_DATABASE_URL is not as it must be"]);
    assert_eq!(count(&url, TABLES).await, 0);
    Server::of(start(&url)).terminate().succeeded();
    // An up-to-date schema needs no migration.
    Server::of(start(nowhere)).terminate().succeeded();
}

/// A starting replica does not wait if no migration is missing, even if another process has the turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_start_waits_for_nobody_where_nothing_is_missing() {
    let (scratch, database) = (scratch(), Database::new().await);
    run(&scratch, &["migrate", "--database-url", &database.url()]).succeeded();
    let other = Target::parse(&database.url()).expect("a URL");
    let mut turn = within(other.open_bare()).await.expect("a connection");
    within(turn.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(6517357)")).await.expect("its turn");
    let server = Server::start_with(&scratch, &["--database-url", &database.url()]);
    server.terminate().succeeded();
}

/// A snapshot held during a slow migration would keep all tables from being vacuumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn replicas_that_wait_for_migrations_say_so_hold_no_snapshot_and_all_serve_in_the_end() {
    let (scratch, database) = (scratch(), Database::new().await);
    let url = database.url();
    let other = Target::parse(&url).expect("a URL");
    let mut turn = within(other.open_bare()).await.expect("a connection");
    within(turn.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(6517357)")).await.expect("its turn");
    let arguments = ["--listen", "127.0.0.1:0", "--database-url", &url];
    let programs = [(); 4].map(|()| Program::spawn(command(&scratch, &arguments)));
    for program in &programs {
        eventually("it waits", || program.stderr().contains("waits for another replica's migrations"));
    }
    let snapshots = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'crm-backend' AND pid <> pg_backend_pid() \
                     AND (wait_event_type = 'Lock' OR state LIKE 'idle in transaction%' AND backend_xmin IS NOT NULL)";
    for _ in 0..20 {
        assert_eq!(count(&url, snapshots).await, 0);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    within(turn.batch_execute("ROLLBACK")).await.expect("an end");
    for server in programs.map(Server::of) {
        server.terminate().succeeded();
    }
}

/// If two distributions run at once, or one beside a migration, the second waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_distribution_waits_for_its_turn_and_says_so() {
    let (scratch, database) = (scratch(), Database::new().await);
    let url = database.url();
    run(&scratch, &["migrate", "--database-url", &url]).succeeded();
    let other = Target::parse(&url).expect("a URL");
    let mut turn = within(other.open_bare()).await.expect("a connection");
    within(turn.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(6517357)")).await.expect("its turn");
    let program = Program::spawn(command(&scratch, &["migrate", "--distribute", "--database-url", &url]));
    eventually("it waits", || {
        program.stderr().contains("waits for another replica's migrations or distribution")
    });
    within(turn.batch_execute("ROLLBACK")).await.expect("an end");
    // This Postgres has no Citus, which the command finds out in its turn.
    program.wait().refused(&["CREATE EXTENSION citus"]);
}

/// Its first host accepts the connection and sends nothing, like a host without power.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_service_starts_with_the_second_host_if_the_first_is_silent() {
    let (scratch, database) = (scratch(), Database::new().await);
    let silent = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let silent = silent.local_addr().map(|address| (address.port(), silent)).expect("an address");
    let (user, password) = database.credentials();
    let (port, name) = (database.port(), database.name());
    let first = silent.0;
    for url in [
        format!("postgres://{user}:{password}@127.0.0.1:{first},127.0.0.1:{port}/{name}"),
        format!(
            "postgres:///{name}?user={user}&password={password}&host=127.0.0.1,127.0.0.1&port={first},{port}"
        ),
        format!(
            "host=127.0.0.1,127.0.0.1 port={first},{port} dbname={name} user={user} password='{password}'"
        ),
    ] {
        let began = std::time::Instant::now();
        let server = Server::start_with(&scratch, &["--database-url", &url]);
        let took = began.elapsed();
        // The first host is given up after 2 s, and then tried last. The time also includes migrations on a slow
        // machine.
        assert!(took < std::time::Duration::from_secs(20), "{took:?}");
        let ended = server.terminate();
        ended.succeeded();
        assert!(
            ended.stdout.contains(&format!("127.0.0.1:{first},127.0.0.1:{port}/{name}")),
            "{}",
            ended.stdout
        );
    }
}
