//! The statement that reads the parts of texts that deltas send again.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Binary, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::conversations::messages::rules::{Span, Stored};
use crate::db::TenantTx;
use crate::error::Result;

/// Returns the stored bytes of these spans, from the messages and from their pieces.
pub(crate) async fn list(tx: &TenantTx, spans: &[Span]) -> Result<Vec<Stored>> {
    let integer = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    let list = List {
        tenant: tx.tenant(),
        message_ids: spans.iter().map(|span| span.message_id).collect(),
        offsets: spans.iter().map(|span| integer(span.offset)).collect(),
        lengths: spans.iter().map(|span| integer(span.length)).collect(),
    };
    let rows: Vec<(Uuid, i64, Vec<u8>)> = list.load(&mut tx.connection()).await?;
    Ok(rows.into_iter().map(|(message_id, offset, text)| Stored { message_id, offset, text }).collect())
}

/// The statement of [`list`]. Offsets count bytes, so texts are cut as bytes.
#[derive(QueryId)]
struct List {
    tenant: Uuid,
    message_ids: Vec<Uuid>,
    offsets: Vec<i32>,
    lengths: Vec<i32>,
}

impl Query for List {
    type SqlType = (SqlUuid, BigInt, Binary);
}

impl QueryFragment<Pg> for List {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT s.message_id, s.start::bigint, \
             substring(convert_to(m.content, 'UTF8') FROM s.start + 1 FOR s.length) || coalesce(p.text, ''::bytea) \
             FROM unnest(",
        );
        out.push_bind_param::<Array<SqlUuid>, _>(&self.message_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.offsets)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.lengths)?;
        out.push_sql(
            ") AS s (message_id, start, length) CROSS JOIN LATERAL (SELECT content FROM conversation_messages \
             WHERE id = s.message_id AND tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(
            " OFFSET 0) AS m CROSS JOIN LATERAL (SELECT string_agg(substring(convert_to(text, 'UTF8') \
             FROM greatest(s.start - start_offset, 0) + 1 \
             FOR least(s.start + s.length, start_offset + octet_length(text)) - greatest(s.start, start_offset)), \
             ''::bytea ORDER BY start_offset) AS text FROM message_pieces WHERE message_id = s.message_id \
             AND start_offset < s.start + s.length AND start_offset + octet_length(text) > s.start AND tenant_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.tenant)?;
        out.push_sql(" OFFSET 0) AS p");
        Ok(())
    }
}
