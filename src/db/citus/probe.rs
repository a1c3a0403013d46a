//! Checks whether the service can serve from distributed tables, before it does.

use diesel::QueryResult;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use super::{ask, is_distributed, is_there};

/// Whether all tables with a tenant are distributed.
const COMPLETE: &str = "
    SELECT NOT EXISTS (
        SELECT FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND NOT EXISTS (SELECT FROM pg_dist_partition AS p WHERE p.logicalrelid = c.oid)
    ) AS answer";

/// A transaction like those of the service, of a tenant id that no real tenant has. Its first own statement goes to
/// every shard of a table, the second one to the tenant's shard.
const PROBE: [&str; 5] = [
    "BEGIN",
    "SET LOCAL ROLE crm_app",
    "SET LOCAL app.tenant_id = '00000000-0000-7000-8000-000000000000'",
    "SELECT count(*) FROM idempotency_keys WHERE request_id = '00000000-0000-7000-8000-000000000000'",
    "INSERT INTO idempotency_keys (tenant_id, method, request_id, fingerprint, expires_at) \
     VALUES ('00000000-0000-7000-8000-000000000000', 'probe', '00000000-0000-7000-8000-000000000000', \
     decode(repeat('00', 32), 'hex'), '-infinity')",
];

/// What to do if a node refuses another node.
const LET_IN: &str = "The nodes of Citus must let each other in as crm_app: crm-backend migrate --distribute prints \
                      the lines for pg_hba.conf.";

/// What the texts of Citus's errors mean for an operator.
const REMEDIES: [(&str, &str); 5] = [
    (
        "is not permitted to log in",
        "The nodes of Citus log in to each other as crm_app: run ALTER ROLE crm_app LOGIN on each.",
    ),
    ("pg_hba.conf", LET_IN),
    ("authentication failed", LET_IN),
    ("no password supplied", LET_IN),
    (
        "violates row-level security policy",
        "Citus does not tell its workers the tenant of a transaction: run ALTER DATABASE … SET \
         citus.propagate_set_commands = 'local', as crm-backend migrate --distribute does.",
    ),
];

/// Returns what is wrong with the distribution, one sentence each that says what to do. Returns nothing if no table
/// is distributed.
///
/// # Errors
///
/// The answer of Postgres to the questions.
pub async fn breaches(connection: &AsyncPgConnection) -> QueryResult<Vec<String>> {
    if !is_distributed(connection).await? {
        return Ok(Vec::new());
    }
    if !ask(connection, super::IS_COORDINATOR).await? {
        return Ok(vec!["DATABASE_URL names a worker of Citus: name the coordinator.".to_owned()]);
    }
    if !ask(connection, COMPLETE).await? {
        let incomplete =
            "Citus has distributed some tables and not others: run crm-backend migrate --distribute.";
        return Ok(vec![incomplete.to_owned()]);
    }
    let probed = probe(connection).await;
    let mut rollback = connection;
    rollback.batch_execute("ROLLBACK").await?;
    Ok(probed.err().map(|error| remedy(&error.to_string())).into_iter().collect())
}

/// Whether a table with a tenant is local to the coordinator; false if there is no Citus.
///
/// # Errors
///
/// Any error that a statement may have.
pub async fn has_local_tables(connection: &AsyncPgConnection) -> QueryResult<bool> {
    Ok(is_there(connection).await? && !ask(connection, COMPLETE).await?)
}

async fn probe(mut connection: &AsyncPgConnection) -> QueryResult<()> {
    for statement in PROBE {
        connection.batch_execute(statement).await?;
    }
    Ok(())
}

/// Returns what to do about an error of the probe.
fn remedy(error: &str) -> String {
    match REMEDIES.iter().find(|(words, _)| error.contains(words)) {
        Some((_, remedy)) => (*remedy).to_owned(),
        None => format!("A transaction of crm_app does not reach the shards of Citus: {error}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_probe_says_what_to_do() {
        let refused = "connection to the remote node crm_app@worker:5432 failed with the following error: ";
        for (error, to_do) in [
            (
                format!("{refused}FATAL:  role \"crm_app\" is not permitted to log in"),
                "ALTER ROLE crm_app LOGIN",
            ),
            (format!("{refused}FATAL:  no pg_hba.conf entry for host \"10.0.0.1\""), "--distribute prints"),
            (
                "new row violates row-level security policy for table \"idempotency_keys_102566\"".to_owned(),
                "citus.propagate_set_commands",
            ),
            (format!("{refused}Connection refused"), "Connection refused"),
        ] {
            assert!(remedy(&error).contains(to_do), "{error}: {}", remedy(&error));
        }
    }
}
