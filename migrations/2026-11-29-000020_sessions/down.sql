-- Fails where a session has had several conversations; which of them is to keep it is not for a migration to say.
DROP INDEX conversations_tenant_id_session_id_idx;
DROP INDEX conversations_open_session_id_key;
ALTER TABLE conversations ADD CONSTRAINT conversations_tenant_id_session_id_key UNIQUE (tenant_id, session_id);

COMMENT ON COLUMN conversations.session_id IS 'Names the conversation in the client''s words, once in a tenant.';
COMMENT ON COLUMN conversations.status IS 'The state; ENDED and ABANDONED are final.';
