//! Whether Postgres answers. The task asks on a connection of its own, because a full pool is not a failure. It also
//! asks on a pool connection if one is free.
//!
//! It also asks whether a commit waits for a standby. Postgres waits for ever if a required standby is lost. The
//! database still serves reads then, and counts as healthy.
//!
//! A missed answer casts doubt on all other connections, so that calls do not have to find out by themselves. While
//! answers are awaited on connections in doubt, the service is not healthy, even if a new connection works.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::statement::statement;
use super::wire::Limit;
use super::{Db, Target, Wire};

/// The time between two questions. A load balancer learns of a lost database within this time plus [`PATIENCE`].
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take. A Postgres that needs longer for `SELECT 1` cannot serve calls.
const PATIENCE: Duration = Duration::from_secs(2);

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Whether Postgres answers.
    pub answers: bool,
    /// Whether a commit waits for a synchronous standby that does not answer.
    pub waits_for_standby: bool,
}

impl Default for Probe {
    /// Postgres answers, and no commit waits.
    fn default() -> Self {
        Self { answers: true, waits_for_standby: false }
    }
}

/// Checks until `stop`, and sends the result to `probed` whenever it changes.
pub async fn watch(target: Target, db: Db, probed: watch::Sender<Probe>, stop: CancellationToken) {
    let mut own = None;
    loop {
        let (answer, serves) = tokio::join!(ask(&target, &mut own), db.probe(PATIENCE));
        if answer == Some(false) {
            db.commits().go_on();
        }
        let answers = answer.is_some() && serves != Some(false) && !target.pulse().is_doubtful();
        let found = Probe { answers, waits_for_standby: answer.unwrap_or_default() };
        probed.send_if_modified(|known| std::mem::replace(known, found) != found);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Asks whether a commit waits for a standby, on the existing connection or a new one. The connection is kept if it
/// answers. Returns `None` if there is no answer.
async fn ask(target: &Target, own: &mut Option<Wire>) -> Option<bool> {
    let wire = match own.take().filter(|wire| !wire.is_given_up()) {
        Some(wire) => wire,
        None => match tokio::time::timeout(PATIENCE * target.hosts(), target.open()).await {
            Ok(Ok(wire)) => wire,
            Ok(Err(_)) | Err(_) => return None,
        },
    };
    let question = async {
        let mut connection = wire.connection();
        FindWait {}.get_result(&mut connection).await.map(|Wait { waits }| waits)
    };
    let answer = wire.answer(Limit::of_probe(PATIENCE), question).await.ok()?.ok();
    *own = answer.is_some().then_some(wire);
    answer
}

statement! {
    /// Asks whether a commit of this service has waited this long for a standby. A healthy standby needs
    /// milliseconds, and without a synchronous one none is waited for. It is asked every second, so that the
    /// connection keeps it prepared.
    struct FindWait {}
    "SELECT
         current_setting('synchronous_standby_names') <> '' AND EXISTS (
             SELECT FROM pg_stat_activity
             WHERE usename = current_user AND datname = current_database()
                 AND wait_event = 'SyncRep' AND state_change < now() - interval '2 s'
         ) AS waits"
}

/// The row of [`FindWait`].
#[derive(QueryableByName)]
struct Wait {
    #[diesel(sql_type = Bool)]
    waits: bool,
}
