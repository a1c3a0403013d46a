//! How far conversations of any tenants have come, for those who watch them.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

const LIST: &str = "
    SELECT c.tenant_id, c.id, c.last_sequence, c.change_count
    FROM unnest($1, $2) AS k (tenant_id, id)
    JOIN conversations AS c ON c.tenant_id = k.tenant_id AND c.id = k.id";

/// How far a conversation has come.
#[derive(Debug, QueryableByName)]
pub(crate) struct Position {
    #[diesel(sql_type = SqlUuid)]
    pub(crate) tenant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) id: Uuid,
    #[diesel(sql_type = BigInt)]
    pub(crate) last_sequence: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) change_count: i64,
}

/// The positions of these conversations, each of which is named by its tenant and its id; as the owner.
pub(crate) async fn list(
    connection: &mut AsyncPgConnection,
    tenants: &[Uuid],
    ids: &[Uuid],
) -> QueryResult<Vec<Position>> {
    let query = diesel::sql_query(LIST).bind::<Array<SqlUuid>, _>(tenants).bind::<Array<SqlUuid>, _>(ids);
    query.load(connection).await
}
