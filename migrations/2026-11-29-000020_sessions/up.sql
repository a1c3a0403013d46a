-- A session_id may be what a customer comes back with, as a telephone number is: it names one conversation at a time.
-- The list of a session's conversations has an index of its own.
ALTER TABLE conversations DROP CONSTRAINT conversations_tenant_id_session_id_key;
CREATE UNIQUE INDEX conversations_open_session_id_key ON conversations (tenant_id, session_id)
    WHERE status NOT IN ('ENDED', 'ABANDONED');
CREATE INDEX conversations_tenant_id_session_id_idx ON conversations (tenant_id, session_id, started_at, id);

COMMENT ON COLUMN conversations.session_id IS 'Names the conversation in the client''s words, one at a time of those that have not ended.';
COMMENT ON COLUMN conversations.status IS 'The state; from ENDED and ABANDONED only a reopening leads on.';
