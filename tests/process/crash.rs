//! `kill -9`: acked messages are stored exactly once, whichever process is killed.

use std::time::{Duration, Instant};

use crm_backend::db::Target;
use crm_testkit::{LIMIT, Server, eventually, within};
use diesel::QueryableByName;
use diesel::sql_types::Integer;
use diesel_async::RunQueryDsl;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{Client, Writer, acks};
use super::http::ask;
use super::scratch;

/// Streams that write while the server is killed, each to a conversation of its own.
const WRITERS: usize = 3;

/// The new messages of each writer in each round: more than are acked before the kill.
const FRESH: usize = 400;

/// Acked messages that each writer sends again in each round.
const REPEATS: usize = 7;

/// Kills in the tests that always run.
const ROUNDS: usize = 3;

/// Kills in the long test.
const MANY_ROUNDS: usize = 200;

/// Checks the acked messages over `rounds` kills of the server, and returns how long the slowest
/// start after a kill took.
async fn survives_kills_of_the_server(rounds: usize) -> Duration {
    let scratch = scratch();
    let tenant = uuid::Uuid::new_v4();
    let mut server = Server::start(&scratch);
    let mut postgres = vec![scratch.postgres()];
    let mut client = Client::connect_as(server.address, tenant).await;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(Writer::new(&mut client).await);
    }
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let (progress, mut counted) = watch::channel(0);
        let mut sessions = JoinSet::new();
        for mut writer in writers.drain(..) {
            let mut client = Client::connect_as(server.address, tenant).await;
            let progress = progress.clone();
            sessions.spawn(async move {
                writer.write(&mut client, REPEATS, FRESH, &progress).await;
                writer
            });
        }
        // Each kill comes at another point of the work: from before the first ack to far into it.
        acks(&mut counted, round * 131 % 500).await;
        server.kill();
        writers = within(sessions.join_all()).await;
        let began = Instant::now();
        server = Server::start(&scratch);
        slowest = slowest.max(began.elapsed());
        postgres.push(scratch.postgres());
    }
    let mut client = Client::connect_as(server.address, tenant).await;
    for mut writer in writers {
        let before = writer.check(&mut client).await;
        assert!(before >= writer.count_acked());
        let (progress, _) = watch::channel(0);
        let everything = writer.count_sent();
        let session = writer.write(&mut client, everything, 0, &progress).await;
        assert!(session.end.is_ok(), "{:?}", session.end);
        assert_eq!(writer.count_acked(), everything, "a resend is acked");
        assert_eq!(writer.check(&mut client).await, everything);
    }
    server.terminate().succeeded();
    for process in postgres {
        assert!(process.is_gone(), "{process:?}");
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_acked_is_lost_or_doubled_when_the_server_is_killed() {
    survives_kills_of_the_server(ROUNDS).await;
}

#[ignore = "takes minutes: the same as above, for as many kills as are promised"]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_acked_is_lost_or_doubled_over_many_kills_of_the_server() {
    let slowest = survives_kills_of_the_server(MANY_ROUNDS).await;
    eprintln!("{MANY_ROUNDS} kills; the slowest start after one took {slowest:?}");
}

/// On other systems the kernel does not signal it, and the next start stops it.
#[cfg(target_os = "linux")]
#[test]
fn postgres_does_not_outlive_a_killed_server() {
    let scratch = scratch();
    let server = Server::start(&scratch);
    let postgres = scratch.postgres();
    server.kill();
    eventually("the end of Postgres", || postgres.is_gone());
}

async fn health(client: &Client) -> i32 {
    let mut health = HealthClient::new(client.channel.clone());
    let response = within(health.check(HealthCheckRequest::default())).await;
    response.expect("a status").into_inner().status
}

async fn health_becomes(client: &Client, status: ServingStatus) {
    let became = async {
        while health(client).await != status as i32 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, became).await.expect("health in time");
}

/// All of Postgres is gone, and the service does not start another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn when_postgres_is_killed_calls_are_unavailable_and_nothing_acked_is_lost() {
    let scratch = scratch();
    let tenant = uuid::Uuid::new_v4();
    let mut server = Server::start(&scratch);
    let mut client = Client::connect_as(server.address, tenant).await;
    let mut writer = Writer::new(&mut client).await;
    health_becomes(&client, ServingStatus::Serving).await;
    assert_eq!(ask(server.address, "GET /readyz", &[], ""), (200, "ok\n".to_owned()));
    let (progress, mut counted) = watch::channel(0);
    let mut writing = JoinSet::new();
    let mut own = client.clone();
    writing.spawn(async move {
        let session = writer.write(&mut own, 0, FRESH, &progress).await;
        (writer, session)
    });
    acks(&mut counted, 50).await;
    scratch.postgres().kill();
    let (mut writer, session) = within(writing.join_next()).await.expect("a writer").expect("no panic");
    assert!(session.end.is_ok(), "a stream outlives the database: {:?}", session.end);
    // Its other processes end when they next check, and may finish their work before that.
    let mut acked = None;
    while acked != Some(writer.count_acked()) {
        acked = Some(writer.count_acked());
        let (progress, _) = watch::channel(0);
        let session = writer.write(&mut client, REPEATS, REPEATS, &progress).await;
        assert!(session.end.is_ok(), "a stream opens without the database: {:?}", session.end);
    }
    for _ in 0..3 {
        let began = Instant::now();
        let refused = client.try_create_customer("Café Zoë").await.expect_err("no database");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    health_becomes(&client, ServingStatus::NotServing).await;
    let (status, reason) = ask(server.address, "GET /readyz", &[], "");
    assert!(status == 503 && reason.contains("Postgres"), "{status} {reason}");
    assert_eq!(ask(server.address, "GET /livez", &[], ""), (200, "ok\n".to_owned()));
    assert!(server.program.is_running());
    let stderr = server.program.stderr();
    assert!(stderr.contains("Postgres ended by itself"), "{stderr}");
    server.terminate().succeeded();

    server = Server::start(&scratch);
    let mut client = Client::connect_as(server.address, tenant).await;
    writer.check(&mut client).await;
    let (progress, _) = watch::channel(0);
    let session = writer.write(&mut client, REPEATS, 0, &progress).await;
    assert!(session.end.is_ok(), "{:?}", session.end);
    assert_eq!(writer.check(&mut client).await, writer.count_sent());
    server.terminate().succeeded();
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// Returns the ids of the Postgres processes that serve the program's connections.
async fn backends(url: &str) -> Vec<i32> {
    let target = Target::parse(url).expect("a URL");
    let mut connection = within(target.open_bare()).await.expect("a connection");
    let sql = "SELECT pid FROM pg_stat_activity \
               WHERE application_name = 'crm-backend' AND pid <> pg_backend_pid()";
    let found: Vec<Backend> = within(diesel::sql_query(sql).load(&mut connection)).await.expect("rows");
    found.into_iter().map(|backend| backend.pid).collect()
}

/// If a Postgres process is killed, all connections are lost; Postgres itself restarts.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn when_postgres_restarts_the_service_heals_by_itself() {
    let scratch = scratch();
    let server = Server::start(&scratch);
    let mut client = Client::connect(server.address).await;
    let mut writer = Writer::new(&mut client).await;
    for _ in 0..ROUNDS {
        let (progress, mut counted) = watch::channel(0);
        let mut writing = JoinSet::new();
        let mut own = client.clone();
        writing.spawn(async move {
            let session = writer.write(&mut own, REPEATS, FRESH, &progress).await;
            (writer, session)
        });
        acks(&mut counted, 20).await;
        let victim = backends(&scratch.postgres_url()).await.into_iter().next().expect("a backend");
        let victim = rustix::process::Pid::from_raw(victim).expect("a process id");
        rustix::process::kill_process(victim, rustix::process::Signal::KILL).expect("a process to kill");
        let (returned, session) = within(writing.join_next()).await.expect("a writer").expect("no panic");
        assert!(session.end.is_ok(), "a stream outlives the database: {:?}", session.end);
        writer = returned;
        let healed = async {
            while let Err(status) = client.try_create_customer("Café Zoë").await {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(healed).await;
    }
    let (progress, _) = watch::channel(0);
    let session = writer.write(&mut client, 0, 0, &progress).await;
    assert!(session.end.is_ok(), "{:?}", session.end);
    assert_eq!(writer.check(&mut client).await, writer.count_sent());
    health_becomes(&client, ServingStatus::Serving).await;
    server.terminate().succeeded();
}
