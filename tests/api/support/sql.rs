//! Rows that would take too long to create through the service.

use std::time::Duration;

use crm_testkit::Sql;
use uuid::Uuid;

use super::Tenant;

/// Adds `copies` of every customer of a tenant: with another id, slug and name, each a millisecond younger.
pub(crate) async fn multiply_customers(sql: &Sql, tenant: &Tenant, copies: u32) {
    let tenant = tenant.id;
    sql.run(&format!(
        "INSERT INTO customers SELECT copy.* FROM customers c, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(c, jsonb_build_object(
             'id', gen_random_uuid(), 'slug', c.slug || '-' || n,
             'business_name', c.business_name || ' ' || n, 'sort_name', c.sort_name || ' ' || lpad(n::text, 9, '0'),
             'created_at', c.created_at + n * interval '1 ms', 'updated_at', c.updated_at + n * interval '1 ms')) copy
         WHERE c.tenant_id = '{tenant}'"
    ))
    .await;
    count_customers(sql, tenant).await;
}

/// Counts the customers of a tenant that were not created through the service.
async fn count_customers(sql: &Sql, tenant: Uuid) {
    sql.run(&format!(
        "DELETE FROM customer_counts WHERE tenant_id = '{tenant}';
         INSERT INTO customer_counts (tenant_id, dimension, value, shard, customers)
         SELECT c.tenant_id, d.dimension, d.value, get_byte(uuid_send(c.id), 15) & 15, count(*)
         FROM customers c CROSS JOIN LATERAL (VALUES
             ('STATUS', c.status), ('INDUSTRY_CATEGORY', c.industry_category), ('SOURCE', c.source)
         ) AS d (dimension, value)
         WHERE c.tenant_id = '{tenant}' AND c.deleted_at IS NULL GROUP BY 1, 2, 3, 4"
    ))
    .await;
}

/// Adds `copies` of every conversation of a tenant: with another id and session, each a millisecond younger.
pub(crate) async fn multiply_conversations(sql: &Sql, tenant: &Tenant, copies: u32) {
    let tenant = tenant.id;
    sql.run(&format!(
        "INSERT INTO conversations SELECT copy.* FROM conversations c, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(c, jsonb_build_object(
             'id', gen_random_uuid(), 'session_id', gen_random_uuid(),
             'started_at', c.started_at + n * interval '1 ms', 'updated_at', c.updated_at + n * interval '1 ms')) copy
         WHERE c.tenant_id = '{tenant}'"
    ))
    .await;
}

/// Adds `copies` of the only message of a conversation after it.
pub(crate) async fn multiply_messages(sql: &Sql, conversation_id: &str, copies: u32) {
    let columns = columns(sql, "conversation_messages").await;
    sql.run(&format!(
        "INSERT INTO conversation_messages ({columns}) SELECT {columns} FROM (SELECT copy.*
         FROM conversation_messages m, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(m, jsonb_build_object(
             'id', gen_random_uuid(), 'message_key', 'copy ' || n, 'sequence', 1 + n)) copy
         WHERE m.conversation_id = '{conversation_id}') AS copies;
         UPDATE conversations SET last_sequence = {copies} + 1 WHERE id = '{conversation_id}'"
    ))
    .await;
}

/// Adds `copies` of all rows of a tenant in these tables, each for a tenant of its own. They refer to rows that are not
/// copied.
pub(crate) async fn multiply_tenants(sql: &Sql, tenant: &Tenant, tables: &[&str], copies: u32) {
    for table in tables {
        let columns = columns(sql, table).await;
        sql.run(&format!(
            "SET session_replication_role = replica;
             INSERT INTO {table} ({columns}) SELECT {columns} FROM (SELECT copy.* FROM {table} t,
             generate_series(1, {copies}) n,
             LATERAL jsonb_populate_record(t, jsonb_build_object('tenant_id', md5(n::text)::uuid)) copy
             WHERE t.tenant_id = '{}') AS copies;
             RESET session_replication_role",
            tenant.id
        ))
        .await;
    }
}

/// Returns the columns of a table that are not generated.
pub(crate) async fn columns(sql: &Sql, table: &str) -> String {
    let written = format!(
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = '{table}'::regclass
         AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"
    );
    sql.texts(&written).await.join(", ")
}

/// How often a table is vacuumed at most. For most tests it does not matter if a few of its rows must still be read.
const ATTEMPTS: usize = 20;

/// Updates the statistics and the visibility map of these tables, so that plans fit their rows and index-only scans
/// read no rows. It also makes earlier reads of the service and of this connection count: a connection reports its
/// counts when it ends or is asked to, and otherwise some seconds late.
pub(crate) async fn settle(sql: &Sql, tables: &[&str]) {
    end_connections(sql).await;
    for table in tables {
        let unsettled =
            format!("SELECT relpages - relallvisible FROM pg_class WHERE oid = '{table}'::regclass");
        // Parallel snapshots keep rows from being marked as visible to all, and a few dead rows stay unless the
        // cleanup is forced.
        for _ in 0..ATTEMPTS {
            sql.run(&format!("VACUUM (ANALYZE, INDEX_CLEANUP ON) {table}")).await;
            if sql.number(&unsettled).await == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // Postgres 14 has no such function: there this connection reports when it ends, or sooner.
    let _ = sql.try_rows("SELECT pg_stat_force_next_flush()").await;
}

/// Ends the service's connections, which then report their reads. The service opens new ones.
pub(crate) async fn end_connections(sql: &Sql) {
    sql.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'crm-backend'",
    )
    .await;
}
