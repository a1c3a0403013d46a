//! Whether Postgres answers, asked on a connection of its own, since a full pool is not an illness, and on one
//! of those that serve tenants, where one is free.
//!
//! A question that is not answered casts doubt on all other connections, so that calls do not have to find out
//! by themselves. While answers are awaited on connections that are in doubt, the service is not healthy, even
//! if a new connection works.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::wire::Limit;
use super::{Db, Target, Wire};

/// How often to ask. A balancer learns of a lost database within this time and [`PATIENCE`].
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take. A Postgres that is slower than this for `SELECT 1` serves nobody.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells `healthy` whether Postgres answers, whenever that changes, until `stop`.
pub async fn watch(target: Target, db: Db, healthy: watch::Sender<bool>, stop: CancellationToken) {
    let mut own = None;
    loop {
        let (answers, serves) = tokio::join!(ask(&target, &mut own), db.probe(PATIENCE));
        let answers = answers && serves != Some(false) && !target.pulse().is_doubtful();
        healthy.send_if_modified(|known| std::mem::replace(known, answers) != answers);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Asks on the connection that there is, or on a new one. It is kept if it answers.
async fn ask(target: &Target, own: &mut Option<Wire>) -> bool {
    let wire = match own.take().filter(|wire| !wire.is_given_up()) {
        Some(wire) => wire,
        None => match tokio::time::timeout(PATIENCE * target.hosts(), target.open()).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(_)) | Err(_) => return false,
        },
    };
    let question = async { wire.connection().batch_execute("SELECT 1").await };
    let answers = matches!(wire.answer(Limit::of_probe(PATIENCE), question).await, Ok(Ok(())));
    *own = answers.then_some(wire);
    answers
}
