//! SIGTERM and Ctrl-C: everything received is answered, nothing is lost, and the program ends soon.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crm_backend::pb::add_message_response::Result as Answer;
use crm_testkit::{Ended, Program, Server, command, eventually, within};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::client::{Client, Unread, Writer, acks, message};
use super::scratch;

/// Far more than an end takes if no call delays it, and far less than the 20 s that calls may take
/// to finish.
const SOON: Duration = Duration::from_secs(8);

#[track_caller]
fn ended_soon(ended: &Ended) {
    ended.succeeded();
    assert!(ended.took < SOON, "took {:?}: {}", ended.took, ended.stderr);
}

/// Opens a stream that has got all its acks, and then stays idle.
async fn idle_stream_is_told_to_go_away(stop: fn(Server) -> Ended) {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &["--ephemeral"]);
    let mut client = Client::connect(server.address).await;
    let conversation_id = client.create_conversation().await;
    let (requests, mut responses) = client.add_messages().await.expect("a stream");
    for key in ["one", "two"] {
        requests.send(message(&conversation_id, key)).await.expect("an open stream");
    }
    let mut next = async || {
        let response = within(responses.message()).await.expect("no error");
        response.map(|response| response.result.expect("a result"))
    };
    for sequence in [1, 2] {
        let answer = next().await;
        assert!(matches!(&answer, Some(Answer::Ack(ack)) if ack.sequence == sequence), "{answer:?}");
    }
    let ended = tokio::task::spawn_blocking(move || stop(server));
    let answer = next().await;
    assert!(matches!(&answer, Some(Answer::GoAway(_))), "{answer:?}");
    assert_eq!(next().await, None);
    // The client's half is still open, which must not matter.
    ended_soon(&within(ended).await.expect("an end"));
    drop(requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_tells_an_idle_stream_to_go_away() {
    idle_stream_is_told_to_go_away(Server::terminate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ctrl_c_tells_an_idle_stream_to_go_away() {
    idle_stream_is_told_to_go_away(Server::interrupt).await;
}

/// Opens a health watch, and waits for SERVING.
async fn watch_health(client: &Client) -> Streaming<HealthCheckResponse> {
    let mut health = HealthClient::new(client.channel.clone());
    let response = within(health.watch(HealthCheckRequest::default())).await;
    let mut statuses = response.expect("a stream").into_inner();
    while within(statuses.message()).await.expect("no error").expect("a status").status
        != ServingStatus::Serving as i32
    {}
    statuses
}

/// Opens a reflection stream that has answered once, and whose other half is open.
async fn reflect(client: &Client) -> Streaming<ServerReflectionResponse> {
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let requests = tokio_stream::once(list).chain(tokio_stream::pending());
    let response = within(reflection.server_reflection_info(requests)).await;
    let mut answers = response.expect("a stream").into_inner();
    within(answers.message()).await.expect("no error").expect("an answer");
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_open_health_watch_does_not_hold_up_the_end() {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &["--ephemeral"]);
    let client = Client::connect(server.address).await;
    let mut statuses = watch_health(&client).await;
    ended_soon(&server.terminate());
    let mut told = Vec::new();
    while let Ok(Some(status)) = within(statuses.message()).await {
        told.push(status.status);
    }
    assert!(told.contains(&(ServingStatus::NotServing as i32)), "{told:?}");
    assert!(!told.contains(&(ServingStatus::Serving as i32)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_open_reflection_stream_does_not_hold_up_the_end() {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &["--ephemeral"]);
    let client = Client::connect(server.address).await;
    let mut answers = reflect(&client).await;
    ended_soon(&server.terminate());
    let end = within(answers.message()).await.expect_err("a reason to ask another replica");
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &["--ephemeral"]);
    let silent = TcpStream::connect(server.address).expect("a connection");
    ended_soon(&server.terminate());
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_reads_nothing_holds_up_the_end_for_the_drain_time_at_most() {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &["--ephemeral", "--drain", "300"]);
    let tenant = uuid::Uuid::new_v4();
    let mut client = Client::connect_as(server.address, tenant).await;
    let mut observer = Client::connect_as(server.address, tenant).await;
    let conversation_id = client.create_conversation().await;
    let unread = Unread::open(&mut client, &conversation_id).await;
    unread.is_held_back(&mut observer, &conversation_id).await;
    ended_soon(&server.terminate());
    drop(unread);
    assert!(scratch.leftovers().is_empty(), "{:?}", scratch.leftovers());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_signal_ends_what_waits_for_a_client() {
    let scratch = scratch();
    let server = Server::start_with(&scratch, &["--ephemeral"]);
    let tenant = uuid::Uuid::new_v4();
    let mut client = Client::connect_as(server.address, tenant).await;
    let mut observer = Client::connect_as(server.address, tenant).await;
    let conversation_id = client.create_conversation().await;
    let unread = Unread::open(&mut client, &conversation_id).await;
    unread.is_held_back(&mut observer, &conversation_id).await;
    server.program.signal(Signal::TERM);
    eventually("the first signal", || server.program.stderr().contains("stopping: calls may finish"));
    ended_soon(&server.terminate());
    drop(unread);
    assert!(scratch.leftovers().is_empty(), "{:?}", scratch.leftovers());
}

/// Writers at once on one server.
const WRITERS: usize = 4;

/// So many that no writer finishes before the signal.
const MESSAGES: usize = 20_000;

/// When to send the signal: after this many acks per writer, so that each has an open stream.
const ACKS: usize = 75;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_under_load_loses_nothing_and_stores_nothing_unsaid() {
    let scratch = scratch();
    let server = Server::start(&scratch);
    let tenant = uuid::Uuid::new_v4();
    let mut writers = JoinSet::new();
    let mut counts = Vec::new();
    for _ in 0..WRITERS {
        let mut client = Client::connect_as(server.address, tenant).await;
        let mut writer = Writer::new(&mut client).await;
        let (progress, counted) = watch::channel(0);
        counts.push(counted);
        writers.spawn(async move {
            let session = writer.write(&mut client, 0, MESSAGES, &progress).await;
            (writer, session)
        });
    }
    for counted in &mut counts {
        acks(counted, ACKS).await;
    }
    ended_soon(&server.terminate());
    let writers = within(writers.join_all()).await;

    let server = Server::start(&scratch);
    let mut client = Client::connect_as(server.address, tenant).await;
    for (writer, session) in writers {
        assert!(session.end.is_ok(), "{:?}", session.end);
        assert!(session.go_away);
        assert!(writer.count_acked() < writer.count_sent(), "the signal came after the work");
        let stored = writer.check(&mut client).await;
        assert_eq!(stored, writer.count_acked(), "what was committed was acked");
    }
    server.terminate().succeeded();
}

/// The program prints its address and installs the signal handler in two steps.
#[test]
fn sigterm_right_after_the_greeting_is_a_clean_end() {
    let scratch = scratch();
    Server::start_with(&scratch, &["--ephemeral"]).terminate().succeeded();
    assert!(scratch.leftovers().is_empty(), "{:?}", scratch.leftovers());
}

#[test]
fn sigterm_during_the_start_leaves_no_process_and_no_half_made_data() {
    let scratch = scratch();
    let data_dir = scratch.data_dir();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().expect("letters")];
    let program = Program::spawn(command(&scratch, &arguments));
    // Postgres is being created.
    eventually("the lock", || data_dir.join("lock").exists());
    program.signal(Signal::TERM);
    program.wait();
    let server = Server::start(&scratch);
    let address: SocketAddr = server.address;
    assert!(TcpStream::connect(address).is_ok());
    let entries = std::fs::read_dir(&data_dir).expect("a directory");
    for entry in entries {
        let name = entry.expect("an entry").file_name();
        assert!(!name.to_string_lossy().starts_with("pgdata."), "{name:?} is half made");
    }
    server.terminate().succeeded();
}
