//! Many writers of one row.

use std::collections::BTreeMap;
use std::time::Instant;

use crm_testkit::cluster::Database;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::client::{Client, PAUSE, is_passing};
use super::run::{Run, Scenario};
use super::service::Service;

/// Writers, and the connections that they share.
const WRITERS: usize = 64;
const CONNECTIONS: usize = 8;

pub(crate) const CONTENDED: Scenario = Scenario {
    name: "etags",
    fault: "64 writers on one row with etag",
    promised: "one winner per version; no update lost",
    play: |run| Box::pin(contend(run)),
};

/// The versions that a writer replaced, and how often it was too late.
#[derive(Default)]
struct Written {
    replaced: Vec<String>,
    stale: usize,
}

/// Increments a counter a number of times: reads it, and writes the next value if no other writer
/// has changed it in between.
async fn count_on(mut client: Client, id: String, times: usize) -> Written {
    let mut written = Written::default();
    while written.replaced.len() < times {
        let customer = match client.get_customer(&id).await {
            Ok(customer) => customer,
            Err(status) => {
                pause_after(&status).await;
                continue;
            }
        };
        let count: usize = customer.contact_name.parse().expect("a count");
        let (next, request_id) = ((count + 1).to_string(), Uuid::new_v4());
        loop {
            match client.rename_customer(&id, &customer.etag, &next, request_id).await {
                Ok(()) => written.replaced.push(customer.etag),
                Err(status) if status.code() == Code::Aborted => {
                    is_stale(&status);
                    written.stale += 1;
                }
                // It may have happened; the same request shows it.
                Err(status) => {
                    pause_after(&status).await;
                    continue;
                }
            }
            break;
        }
    }
    written
}

async fn pause_after(status: &Status) {
    assert!(is_passing(status), "{status:?}");
    tokio::time::sleep(PAUSE).await;
}

#[track_caller]
fn is_stale(status: &Status) {
    let details = status.get_error_details();
    assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("ETAG_STALE"), "{status:?}");
}

async fn contend(run: Run) {
    let database = Database::new().await;
    let service = Service::start(&database.url());
    let tenant = Uuid::new_v4();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(service.address(), tenant).await);
    }
    let id = clients[0].create_customer(Uuid::new_v4()).await.expect("a customer");
    clients[0].rename_customer(&id, "", "0", Uuid::new_v4()).await.expect("an update");
    let times = run.size.pick(1, 5);
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(count_on(clients[number % CONNECTIONS].clone(), id.clone(), times));
    }
    let (mut winners, mut stale) = (BTreeMap::<String, usize>::new(), 0);
    for written in writers.join_all().await {
        stale += written.stale;
        for etag in written.replaced {
            *winners.entry(etag).or_default() += 1;
        }
    }
    let took = began.elapsed();
    let count = clients[0].get_customer(&id).await.expect("a customer").contact_name;
    let most = winners.values().max().expect("a winner");
    run.say(&format_args!(
        "{} versions in {took:?}, {most} winner each at most, {stale} refused as stale; {count} counted",
        winners.len(),
    ));
    assert_eq!(*most, 1, "two writers replaced one version");
    assert_eq!(count, (WRITERS * times).to_string(), "an update was lost");
    assert!(stale > 0, "nobody contended");
    service.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_of_one_version_one_wins() {
    CONTENDED.short().await;
}
