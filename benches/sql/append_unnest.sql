-- A hundred messages for ten conversations in a transaction: what a writer can do that has its
-- batches ready. Its two clients keep to conversations of their own, and never wait for each other.
\set number :number + 1
\set first random(0, @count@ / 20 - 1) * 2 + :client_id % 2
\startpipeline
BEGIN;
SET LOCAL ROLE crm_app;
SET LOCAL app.tenant_id = '@tenant@';
WITH named AS (
    SELECT :run || lpad(to_hex((:client_id::bigint << 32) | :number::bigint), 14, '0') AS key
), targets AS (
    SELECT place, ('@prefix@' || lpad(to_hex(:first::bigint * 10 + place), 16, '0'))::uuid AS id
    FROM generate_series(1, 10) AS place
), counted AS (
    UPDATE conversations AS c SET last_sequence = c.last_sequence + 10, last_message_at = now()
    FROM targets AS t
    WHERE c.tenant_id = '@tenant@' AND c.id = t.id
    RETURNING t.place, c.id, c.last_sequence - 10 AS last_sequence
)
INSERT INTO conversation_messages
    (tenant_id, id, conversation_id, sequence, message_key, role, status, content, content_type, fingerprint)
SELECT '@tenant@', (n.key || m.suffix)::uuid, c.id, c.last_sequence + m.step, n.key || m.suffix, 'USER', 'COMPLETED',
    m.content, 'text/plain', :fingerprint::bytea
FROM unnest(:places::bigint[], :steps::bigint[], :suffixes::text[], :contents::text[]) AS m (place, step, suffix, content)
JOIN counted AS c ON c.place = m.place
CROSS JOIN named AS n;
COMMIT;
\endpipeline
