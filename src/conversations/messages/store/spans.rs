//! The statement that reads the parts of texts that deltas send again.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::conversations::messages::rules::{Span, Stored};
use crate::db::TenantTx;
use crate::db::statement::statement;
use crate::error::{Error, Result};

/// Returns the stored bytes of these spans, from the messages and from their pieces.
pub(crate) async fn list(tx: &TenantTx, spans: &[Span]) -> Result<Vec<Stored>> {
    let (mut offsets, mut lengths) = (Vec::with_capacity(spans.len()), Vec::with_capacity(spans.len()));
    for span in spans {
        offsets.push(i32::try_from(span.offset).map_err(Error::internal)?);
        lengths.push(i32::try_from(span.length).map_err(Error::internal)?);
    }
    let list = List {
        tenant: tx.tenant(),
        message_ids: spans.iter().map(|span| span.message_id).collect(),
        offsets,
        lengths,
    };
    let rows: Vec<Row> = list.load(&mut tx.connection()).await?;
    let stored =
        rows.into_iter().map(|Row { message_id, start, text }| Stored { message_id, offset: start, text });
    Ok(stored.collect())
}

/// A row of the statement of [`list`].
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    message_id: Uuid,
    #[diesel(sql_type = BigInt)]
    start: i64,
    #[diesel(sql_type = Binary)]
    text: Vec<u8>,
}

statement! {
    /// The statement of [`list`]. Offsets count bytes, so texts are cut as bytes.
    struct List {
        tenant: Uuid as SqlUuid,
        message_ids: Vec<Uuid> as Array<SqlUuid>,
        offsets: Vec<i32> as Array<Integer>,
        lengths: Vec<i32> as Array<Integer>,
    }
    "SELECT
         s.message_id,
         s.start::bigint AS start,
         substring(convert_to(m.content, 'UTF8') FROM s.start + 1 FOR s.length)
             || coalesce(p.text, ''::bytea) AS text
     FROM unnest(:message_ids, :offsets, :lengths) AS s (message_id, start, length)
     CROSS JOIN LATERAL (
         SELECT content FROM conversation_messages WHERE id = s.message_id AND tenant_id = :tenant OFFSET 0
     ) AS m
     CROSS JOIN LATERAL (
         SELECT
             string_agg(
                 substring(
                     convert_to(text, 'UTF8')
                     FROM greatest(s.start - start_offset, 0) + 1
                     FOR least(s.start + s.length, start_offset + octet_length(text))
                         - greatest(s.start, start_offset)
                 ),
                 ''::bytea ORDER BY start_offset
             ) AS text
         FROM message_pieces
         WHERE message_id = s.message_id AND start_offset < s.start + s.length
             AND start_offset + octet_length(text) > s.start AND tenant_id = :tenant
         OFFSET 0
     ) AS p"
}
