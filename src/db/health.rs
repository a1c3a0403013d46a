//! Whether Postgres answers, asked on a connection of its own: a full pool is not an illness.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Target;

/// How often to ask. A balancer learns of a lost database within this time and [`PATIENCE`].
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take. A Postgres that is slower than this for `SELECT 1` serves nobody.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells `healthy` whether Postgres answers, whenever that changes, until `stop`.
pub async fn watch(target: Target, healthy: watch::Sender<bool>, stop: CancellationToken) {
    let mut connection = None;
    loop {
        let answers = tokio::time::timeout(PATIENCE, ask(&target, &mut connection)).await.unwrap_or(false);
        if !answers {
            connection = None;
        }
        healthy.send_if_modified(|known| std::mem::replace(known, answers) != answers);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn ask(target: &Target, connection: &mut Option<AsyncPgConnection>) -> bool {
    if connection.is_none() {
        *connection = target.open().await.ok();
    }
    match connection {
        Some(connection) => connection.batch_execute("SELECT 1").await.is_ok(),
        None => false,
    }
}
