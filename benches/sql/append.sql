-- One message in a transaction: the insert with its key and the conversation's counter as one
-- statement, in one flight with the tenant.
\set number :number + 1
\set conversation @conversation@
\startpipeline
BEGIN;
SET LOCAL ROLE crm_app;
SET LOCAL app.tenant_id = '@tenant@';
WITH named AS (
    SELECT :run || lpad(to_hex((:client_id::bigint << 40) | :number::bigint), 16, '0') AS key
), counted AS (
    UPDATE conversations SET last_sequence = last_sequence + 1, last_message_at = now()
    WHERE tenant_id = '@tenant@'
        AND id = ('@prefix@' || lpad(to_hex(:conversation::bigint), 16, '0'))::uuid
    RETURNING id, last_sequence
)
INSERT INTO conversation_messages
    (tenant_id, id, conversation_id, sequence, message_key, role, status, content, content_type, fingerprint)
SELECT '@tenant@', key::uuid, id, last_sequence, key, 'USER', 'COMPLETED', :content, 'text/plain', :fingerprint::bytea
FROM counted, named;
COMMIT;
\endpipeline
