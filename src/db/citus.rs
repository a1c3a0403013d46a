//! The schema on Citus: the service connects to a coordinator, and the workers hold the rows.
//!
//! Every table with a `tenant_id` is distributed by it, and all of them are in one group. So all rows of a tenant are
//! on one worker, and a statement about a tenant needs that worker only. Tables that belong to no tenant (the keys of
//! the service, API keys, the list of migrations) stay on the coordinator.

pub(super) mod order;
mod probe;

use diesel::sql_types::{Bool, Text};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

pub use probe::{breaches, has_local_tables};

/// Whether the database has the extension. Even if it has, all of its tables may be local.
///
/// # Errors
///
/// Any error that a statement may have.
pub async fn is_there(connection: &AsyncPgConnection) -> QueryResult<bool> {
    const SQL: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus') AS answer";
    ask(connection, SQL).await
}

/// Why the tables are not distributed. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum DistributeError {
    /// There is no extension, or no node to distribute the tables over.
    #[error("{0}")]
    NotReady(&'static str),
    /// A statement failed.
    #[error("`{statement}` failed: {cause}. Mend it and do this again: what is done is kept.")]
    Failed {
        /// The statement.
        statement: String,
        /// What Postgres answered.
        cause: diesel::result::Error,
    },
}

/// What [`distribute`] did, and what it could not do.
#[derive(Debug, Default)]
pub struct Distributed {
    /// The tables that were local before the call.
    pub tables: Vec<String>,
    /// The statements that a superuser must still run on every node.
    pub left: Vec<String>,
    /// Lines for the `pg_hba.conf` of every node.
    pub hba: Vec<String>,
}

/// Distributes the local tables, and sets up what the service needs. It may run again: finished steps are kept.
///
/// # Errors
///
/// As [`DistributeError`] says.
pub async fn distribute(owner: &AsyncPgConnection) -> Result<Distributed, DistributeError> {
    check(owner).await?;
    let mut done = Distributed { tables: distribute_tables(owner).await?, ..Distributed::default() };
    // Rows from before the distribution are still on the coordinator too, where no query sees them.
    for table in &done.tables {
        run(owner, &format!("SELECT truncate_local_data_after_distributing_table('public.{table}')")).await?;
    }
    // The grants on the view of customers do not reach the workers together with the view.
    for grant in texts(owner, GRANTS).await? {
        run(owner, &grant).await?;
    }
    for propagate in texts(owner, PROPAGATE).await? {
        run(owner, &propagate).await?;
    }
    done.left = needs_superuser(owner).await;
    done.hba = texts(owner, HBA).await?;
    Ok(done)
}

/// Distributes the local tables, in an order in which each table refers only to earlier ones.
///
/// # Errors
///
/// As [`distribute`].
pub async fn distribute_tables(owner: &AsyncPgConnection) -> Result<Vec<String>, DistributeError> {
    let tables = texts(owner, TENANT_TABLES).await?;
    let mut distributed = texts(owner, DISTRIBUTED).await?;
    let references = texts(owner, REFERENCES).await?;
    let references = references.iter().filter_map(|reference| reference.split_once(' ')).collect();
    let mut added = Vec::new();
    for table in order::by_references(&tables, &references) {
        if distributed.contains(&table) {
            continue;
        }
        let group = distributed.as_slice().first().map_or("none", String::as_str);
        run(
            owner,
            &format!(
                "SELECT create_distributed_table('public.{table}', 'tenant_id', colocate_with => '{group}')"
            ),
        )
        .await?;
        distributed.push(table.clone());
        added.push(table);
    }
    Ok(added)
}

/// Whether any table is distributed.
///
/// # Errors
///
/// Any error that a statement may have.
pub async fn is_distributed(connection: &AsyncPgConnection) -> QueryResult<bool> {
    Ok(is_there(connection).await?
        && ask(connection, "SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition) AS answer").await?)
}

/// Lets one transaction change distributed tables and distribute others.
pub(super) const SET_SEQUENTIAL: &str = "SET LOCAL citus.multi_shard_modify_mode = 'sequential'";

/// The tables of the schema that have rows of tenants.
const TENANT_TABLES: &str = "
    SELECT c.relname::text AS answer FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1";

/// The distributed tables, `customers` first: all others are bound to it.
const DISTRIBUTED: &str = "
    SELECT c.relname::text AS answer FROM pg_dist_partition AS p JOIN pg_class AS c ON c.oid = p.logicalrelid
    WHERE c.relnamespace = 'public'::regnamespace AND p.partmethod = 'h'
    ORDER BY c.relname <> 'customers', c.relname";

/// Which table refers to which, as two names.
const REFERENCES: &str = "
    SELECT c.relname || ' ' || t.relname AS answer FROM pg_constraint AS k
    JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_class AS t ON t.oid = k.confrelid
    WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace";

/// The rights of crm_app, as the statements that grant them again.
const GRANTS: &str = "
    SELECT format('GRANT %s ON public.%I TO crm_app', string_agg(privilege_type, ', '), table_name) AS answer
    FROM information_schema.role_table_grants WHERE grantee = 'crm_app' AND table_schema = 'public'
    GROUP BY table_name ORDER BY table_name";

/// Passes the settings of a transaction on to the workers. Without it they do not know the tenant of the transaction:
/// they show no rows and accept none.
const PROPAGATE: &str = "SELECT format('ALTER DATABASE %I SET citus.propagate_set_commands = ''local''', current_database()) AS answer";

/// Whether this is the coordinator.
const IS_COORDINATOR: &str = "SELECT groupid = 0 AS answer FROM pg_dist_local_group";

/// The nodes from which the other nodes must accept connections as crm_app. No other host may connect so: a client
/// that logs in as crm_app may name any tenant.
const HBA: &str = "
    SELECT concat_ws('  ', 'host', current_database(), 'crm_app', CASE
        WHEN nodename ~ '^[0-9.]+$' THEN nodename || '/32' WHEN nodename ~ ':' THEN nodename || '/128'
        ELSE nodename END, 'trust') AS answer
    FROM (SELECT DISTINCT nodename FROM pg_dist_node ORDER BY nodename) AS n
    UNION ALL SELECT concat_ws('  ', 'host', current_database(), 'crm_app', 'all', 'reject')";

/// Lets the nodes log in to each other as crm_app. Citus passes it on to all of them.
const LOGIN: &str = "ALTER ROLE crm_app LOGIN";

/// Whether crm_app may log in.
const MAY_LOG_IN: &str = "SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = 'crm_app'";

/// Lets the search of customers use its index on the workers, where the rights of the view's owner do not apply. The
/// function leaks nothing about the values that it compares: it fails only if memory runs out.
const LEAKPROOF: &str = "ALTER FUNCTION pg_catalog.ts_match_vq(tsvector, tsquery) LEAKPROOF";

/// Whether the function is marked as leakproof.
const IS_LEAKPROOF: &str = "SELECT proleakproof FROM pg_catalog.pg_proc WHERE oid = 'pg_catalog.ts_match_vq(tsvector, tsquery)'::regprocedure";

/// Checks that this is a coordinator with at least one node that can store rows.
async fn check(owner: &AsyncPgConnection) -> Result<(), DistributeError> {
    const HAS_NODES: &str =
        "SELECT EXISTS (SELECT FROM pg_dist_node WHERE shouldhaveshards AND isactive) AS answer";
    let not_ready = |sentence| Err(DistributeError::NotReady(sentence));
    if !is_there(owner).await.map_err(failed("CREATE EXTENSION citus"))? {
        return not_ready(
            "The database does not have the extension citus. Run CREATE EXTENSION citus in it on every node, and on \
             the coordinator SELECT citus_set_coordinator_host(…), and SELECT citus_add_node(…) for each worker.",
        );
    }
    if !ask(owner, IS_COORDINATOR).await.map_err(failed(IS_COORDINATOR))? {
        return not_ready("DATABASE_URL names a worker of Citus. Name the coordinator.");
    }
    if !ask(owner, HAS_NODES).await.map_err(failed(HAS_NODES))? {
        return not_ready(
            "Citus knows no worker yet. Run SELECT citus_add_node(…) on the coordinator for each.",
        );
    }
    Ok(())
}

/// Runs what often needs a superuser, and returns the statements that did not succeed.
async fn needs_superuser(owner: &AsyncPgConnection) -> Vec<String> {
    let everywhere = |command: &str| format!("run_command_on_all_nodes($command${command}$command$)");
    let leakproof = format!("SELECT count(*) FROM {}", everywhere(LEAKPROOF));
    let mut left = Vec::new();
    for (question, statement, command, why) in [
        (MAY_LOG_IN, LOGIN, LOGIN, "the nodes log in to each other as crm_app"),
        (IS_LEAKPROOF, LEAKPROOF, leakproof.as_str(), "else a search reads all customers of a tenant"),
    ] {
        let question = format!("SELECT bool_and(result = 't') AS answer FROM {}", everywhere(question));
        // A user that may not ask may not change it either. Asking again shows whether the change worked.
        if ask(owner, &question).await.unwrap_or(false) {
            continue;
        }
        let _ = run(owner, command).await;
        if !ask(owner, &question).await.unwrap_or(false) {
            left.push(format!("{statement}; -- {why}"));
        }
    }
    left
}

async fn run(owner: &AsyncPgConnection, statement: &str) -> Result<(), DistributeError> {
    let mut connection = owner;
    let failed = |cause| DistributeError::Failed { statement: statement.to_owned(), cause };
    connection.batch_execute(statement).await.map_err(failed)
}

async fn ask(connection: &AsyncPgConnection, question: &str) -> QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Bool)]
        answer: bool,
    }
    let mut connection = connection;
    Ok(sql_query(question).get_result::<Row>(&mut connection).await?.answer)
}

async fn texts(owner: &AsyncPgConnection, question: &str) -> Result<Vec<String>, DistributeError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        answer: String,
    }
    let mut connection = owner;
    let rows: Vec<Row> = sql_query(question).load(&mut connection).await.map_err(failed(question))?;
    Ok(rows.into_iter().map(|row| row.answer).collect())
}

fn failed(statement: &str) -> impl FnOnce(diesel::result::Error) -> DistributeError {
    |cause| DistributeError::Failed { statement: statement.trim().to_owned(), cause }
}
