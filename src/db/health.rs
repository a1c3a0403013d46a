//! Whether Postgres answers, asked on a connection of its own, since a full pool is not an illness, and on one
//! of those that serve tenants, where one is free.
//!
//! It is asked whether a commit waits for a standby, which Postgres does for ever where one that it must wait for is
//! lost. The database serves those who read then, and is not ill.
//!
//! A question that is not answered casts doubt on all other connections, so that calls do not have to find out
//! by themselves. While answers are awaited on connections that are in doubt, the service is not healthy, even
//! if a new connection works.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::wire::Limit;
use super::{Db, Target, Wire};

/// How often to ask. A balancer learns of a lost database within this time and [`PATIENCE`].
const INTERVAL: Duration = Duration::from_secs(1);

/// How long an answer may take. A Postgres that is slower than this for `SELECT 1` serves nobody.
const PATIENCE: Duration = Duration::from_secs(2);

/// A commit of this service that has waited so long for a standby. A healthy one takes milliseconds.
const WAITS_FOR_STANDBY: &str = "EXISTS (SELECT FROM pg_stat_activity WHERE usename = current_user
    AND datname = current_database() AND wait_event = 'SyncRep' AND state_change < now() - interval '2 s')";

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Whether Postgres answers.
    pub answers: bool,
    /// Whether a commit waits for a synchronous standby that does not answer.
    pub waits_for_standby: bool,
}

impl Default for Probe {
    /// All is well.
    fn default() -> Self {
        Self { answers: true, waits_for_standby: false }
    }
}

/// Tells `probed` what was found, whenever that changes, until `stop`.
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

/// Asks on the connection that there is, or on a new one, whether a commit waits for a standby. It is kept if it
/// answers.
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
        diesel::select(sql::<Bool>(WAITS_FOR_STANDBY)).get_result(&mut connection).await
    };
    let answer = wire.answer(Limit::of_probe(PATIENCE), question).await.ok()?.ok();
    *own = answer.is_some().then_some(wire);
    answer
}
