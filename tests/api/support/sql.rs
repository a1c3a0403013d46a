//! Rows that would take too long to make through the service.

use super::Tenant;
use super::postgres::Sql;

/// Adds `copies` of every customer of a tenant: another id, slug and name, a millisecond younger each.
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
}

/// Adds `copies` of every conversation of a tenant: another id and session, a millisecond younger each.
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
    sql.run(&format!(
        "INSERT INTO conversation_messages SELECT copy.* FROM conversation_messages m, generate_series(1, {copies}) n,
         LATERAL jsonb_populate_record(m, jsonb_build_object(
             'id', gen_random_uuid(), 'message_key', 'copy ' || n, 'sequence', 1 + n)) copy
         WHERE m.conversation_id = '{conversation_id}';
         UPDATE conversations SET last_sequence = {copies} + 1 WHERE id = '{conversation_id}'"
    ))
    .await;
}
