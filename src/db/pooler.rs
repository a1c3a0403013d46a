//! Checks whether statements prepared in one transaction still exist in the next, even if a pooler moves clients
//! between sessions.
//!
//! Every call relies on this. A pooler without it works until two transactions of a client happen to get different
//! sessions. So the check makes that happen at the start: between two transactions of one connection, another
//! connection takes the session of the first.

use std::future::pending;
use std::time::Duration;

use diesel::{ConnectionError, ConnectionResult};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Error};
use tokio_stream::{Stream, StreamExt};

use super::{NoAnswer, Target, Wire, connect};

/// How often the other connection tries to get the session of the first. A pooler gives it the session that was used
/// last, unless other clients are faster. Without a pooler it never gets it.
const ROUNDS: u32 = 5;

/// How long an answer may take. A pooler that has a single session makes the second connection wait for the first.
const PATIENCE: Duration = Duration::from_secs(2);

/// A question for the session's id, and at the same time the statement that is prepared.
const QUESTION: &str = "SELECT pg_backend_pid()";

/// Whether prepared statements persist. Also true if that cannot be found out, because the pooler has a single
/// session.
///
/// # Errors
///
/// If there is no connection.
pub async fn keeps_statements(target: &Target) -> ConnectionResult<bool> {
    let (one, of_one) = target.open_listening().await?;
    let (other, of_other) = target.open_listening().await?;
    // The clients get answers only while their messages are read.
    tokio::select! {
        kept = keep_statements(&one, &other) => kept.map_err(ConnectionError::BadConnection),
        never = read(of_one) => match never {},
        never = read(of_other) => match never {},
    }
}

async fn read(
    mut messages: impl Stream<Item = Result<AsyncMessage, Error>> + Unpin,
) -> std::convert::Infallible {
    while let Some(Ok(_)) = messages.next().await {}
    pending().await
}

async fn keep_statements(one: &Wire<Client>, other: &Wire<Client>) -> Result<bool, String> {
    for _ in 0..ROUNDS {
        match is_kept(one, other).await {
            Ok(None) => {}
            Ok(Some(kept)) => return Ok(kept),
            Err(NoAnswer::Refused(error)) if is_forgotten(&error) => return Ok(false),
            Err(NoAnswer::Refused(error)) => return Err(connect::describe(&error)),
            Err(NoAnswer::Missed(_)) => break,
        }
    }
    Ok(true)
}

/// Whether a statement exists in another session than the one in which it was prepared; `None` if that could not be
/// found out.
async fn is_kept(one: &Wire<Client>, other: &Wire<Client>) -> Result<Option<bool>, NoAnswer<Error>> {
    let prepared = one.ask_shared(PATIENCE, async |client| {
        client.batch_execute("BEGIN").await?;
        let statement = client.prepare_typed(QUESTION, &[]).await?;
        let session: i32 = client.query_one(&statement, &[]).await?.try_get(0)?;
        client.batch_execute("COMMIT").await?;
        Ok((statement, session))
    });
    let (statement, session) = prepared.await?;
    let taken = other.ask_shared(PATIENCE, async |client| {
        client.batch_execute("BEGIN").await?;
        let none: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 0] = [];
        client.query_typed_one(QUESTION, &none).await?.try_get::<_, i32>(0)
    });
    let is_taken = taken.await? == session;
    let again = async {
        if !is_taken {
            return Ok(None);
        }
        let again = one.ask_shared(PATIENCE, async |client| client.query_one(&statement, &[]).await);
        again.await.map(|_| Some(true))
    };
    let kept = again.await;
    other.ask_shared(PATIENCE, async |client| client.batch_execute("ROLLBACK").await).await?;
    kept
}

/// Whether the session does not know a statement, or knows another statement by its name.
fn is_forgotten(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT].contains(code)
    })
}
