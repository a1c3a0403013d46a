//! Text of messages in progress reaches watchers at another replica even if replicas cannot send signals, as behind a
//! pooler.

use std::time::{Duration, Instant};

use crm_backend::pb::conversation_event::Event;

use crate::support::conversations::{delta, finish, start};
use crate::support::postgres::Database;
use crate::support::watch::BEGINNING;
use crate::support::{Crm, Settings};

/// Keeps every bus of this database from starting: a replica listens only after it has this lock too.
const NO_BUS: &str = "SELECT pg_advisory_lock(6517357, 1818850917)";

/// The promise is a second; a busy machine has more.
const LATE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn text_is_told_within_a_second_without_the_bus() {
    let database = Database::create().await;
    let sql = database.sql().await;
    sql.run(NO_BUS).await;
    let crm = Crm::over(database, Settings::default()).await;
    let other = crm.replica().await;
    let tenant = crm.tenant();
    let talk = tenant.conversation().await;
    let mut watch = tenant.through(&other).watch(&talk.id, BEGINNING).await;
    let mut stream = tenant.stream().await;
    stream.tell(&talk.id, [start("a", "p")]);
    stream.acked(0).await;
    let (mut text, mut slowest) = (String::new(), Duration::ZERO);
    for word in ["Good ", "morning, ", "Zoë", "!"] {
        stream.tell(&talk.id, [delta("a", text.len(), word)]);
        text.push_str(word);
        stream.acked(text.len()).await;
        let stored = Instant::now();
        watch.until(|log| log.messages.first().is_some_and(|message| message.content == text)).await;
        slowest = slowest.max(stored.elapsed());
    }
    assert!(slowest < LATE, "{slowest:?}");
    // Unchanged text causes no more events, and its end is reported as usual.
    stream.tell(&talk.id, [finish("a", text.len())]);
    stream.acked(text.len()).await;
    let events = watch.until_closed(1).await;
    assert!(matches!(events.as_slice(), [Event::MessageFinished(_)]), "{events:?}");
}
