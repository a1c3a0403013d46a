-- The last 50 messages of a conversation, with the columns that ListMessages answers, in one flight
-- with the tenant.
\set number random(1, @count@)
\startpipeline
BEGIN;
SET LOCAL ROLE crm_app;
SET LOCAL app.tenant_id = '@tenant@';
SELECT id, conversation_id, sequence, message_key, role, author, status, content, content_type, ai, actions, metadata,
    sent_at, created_at, updated_at, revision
FROM conversation_messages
WHERE tenant_id = '@tenant@'
    AND conversation_id = ('@prefix@' || lpad(to_hex(:number::bigint), 16, '0'))::uuid
ORDER BY sequence DESC
LIMIT 50;
COMMIT;
\endpipeline
