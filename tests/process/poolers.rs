//! A PgBouncer between the service and Postgres, which gives every transaction any of its sessions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crm_backend::pb;
use crm_backend::pb::add_message_request::Command;
use crm_backend::pb::conversation_event::Event;
use crm_testkit::cluster::{Database, count};
use crm_testkit::{Program, Scratch, Server, command, run, within};
use uuid::Uuid;

use super::bouncer::Installation;
use super::client::Client;
use super::scratch;

/// What docs/operations.md advises.
const STATEMENTS: u16 = 500;

/// Replicas that start at the same time: more than the pooler has sessions.
const REPLICAS: usize = 6;

/// The promise for text that another replica stores, with extra time for a busy machine.
const A_SECOND_OR_SO: Duration = Duration::from_secs(5);

fn begin(url: &str, scratch: &Scratch) -> Program {
    Program::spawn(command(scratch, &["--listen", "127.0.0.1:0", "--database-url", url]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_start_at_once_and_serve_through_a_pooler_and_leave_nothing_on_its_sessions() {
    let Some(installation) = Installation::new() else { return };
    let (scratch, database) = (scratch(), Database::new().await);
    let bouncer = installation.start(&scratch, &database, STATEMENTS);
    // On an empty database, and again on one that is up to date.
    for _ in 0..2 {
        let programs = [(); REPLICAS].map(|()| begin(bouncer.url(), &scratch));
        let servers = programs.map(Server::of);
        let tenant = Uuid::new_v4();
        let mut customers = BTreeSet::new();
        for server in &servers {
            let mut client = Client::connect_as(server.address, tenant).await;
            customers.insert(client.create_customer("Café Zoë").await.id);
            let listed = client.list_customers().await.into_iter().map(|customer| customer.id);
            assert_eq!(listed.collect::<BTreeSet<_>>(), customers);
        }
        for server in servers {
            let ended = server.terminate();
            ended.succeeded();
            assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
        }
    }
    // The sessions still exist, so a leftover lock on them would too.
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    assert!(count(&database.url(), sessions).await > 0);
    assert_eq!(count(&database.url(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").await, 0);
    let temporary = "SELECT count(*) FROM pg_class WHERE relpersistence = 't'";
    assert_eq!(count(&database.url(), temporary).await, 0);
    assert!(bouncer.log().contains("login attempt"), "{}", bouncer.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_reaches_the_watchers_of_other_replicas_through_a_pooler_within_a_second() {
    let Some(installation) = Installation::new() else { return };
    let (scratch, database) = (scratch(), Database::new().await);
    let bouncer = installation.start(&scratch, &database, STATEMENTS);
    let servers = [(); 2].map(|()| begin(bouncer.url(), &scratch)).map(Server::of);
    let tenant = Uuid::new_v4();
    let mut writer = Client::connect_as(servers[0].address, tenant).await;
    let mut watcher = Client::connect_as(servers[1].address, tenant).await;
    let id = writer.create_conversation().await;
    let request = pb::WatchConversationRequest {
        conversation_id: id.clone(),
        include_deltas: true,
        ..Default::default()
    };
    let mut events =
        within(watcher.conversations.watch_conversation(request)).await.expect("a watch").into_inner();
    let (requests, mut answers) = writer.add_messages().await.expect("a stream");
    let start = pb::MessageStart {
        message_key: "a".to_owned(),
        role: pb::MessageRole::Assistant.into(),
        ..Default::default()
    };
    let mut told = String::new();
    let words = ["Good ", "morning", ", Zoë"];
    let deltas = words.iter().scan(0, |offset, word| {
        let delta =
            pb::MessageDelta { message_key: "a".to_owned(), offset: *offset, text: (*word).to_owned() };
        *offset += i32::try_from(word.len()).ok()?;
        Some(Command::Delta(delta))
    });
    for action in std::iter::once(Command::Start(start)).chain(deltas) {
        let request = pb::AddMessageRequest { conversation_id: id.clone(), command: Some(action) };
        within(requests.send(request)).await.expect("a stream");
        within(answers.message()).await.expect("an answer").expect("an ack");
        let (sent, whole) = (Instant::now(), words.concat());
        while !told.ends_with(words[2]) {
            let event =
                within(events.message()).await.expect("a watch").expect("no end").event.expect("an event");
            match event.event.expect("something happened") {
                Event::MessageDelta(text) | Event::MessageSnapshot(text) => {
                    told.truncate(usize::try_from(text.offset).expect("an offset"));
                    told.push_str(&text.text);
                    assert!(whole.starts_with(&told), "{told:?}");
                    assert!(sent.elapsed() < A_SECOND_OR_SO, "{:?}", sent.elapsed());
                    break;
                }
                Event::MessageStarted(_) => break,
                _ => {}
            }
        }
    }
    assert_eq!(told, words.concat());
    drop(requests);
    drop(events);
    for server in servers {
        let ended = server.terminate();
        ended.succeeded();
        assert!(ended.stderr.contains("learn it by polling"), "{}", ended.stderr);
    }
}

/// An old version cannot keep prepared statements, and a new one may be set not to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_forgets_prepared_statements_is_refused_with_what_to_set() {
    for (installation, statements) in [(Installation::old(), STATEMENTS), (Installation::new(), 0)] {
        let Some(installation) = installation else { continue };
        let (scratch, database) = (scratch(), Database::new().await);
        let bouncer = installation.start(&scratch, &database, statements);
        let ended = run(&scratch, &["--listen", "127.0.0.1:0", "--database-url", bouncer.url()]);
        ended.refused(&["PgBouncer 1.21 or newer", "max_prepared_statements = 500"]);
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(count(&database.url(), tables).await, 0, "nothing was done before");
    }
}
