-- What happens in a conversation, for those who watch it. A new message is told by
-- its sequence. Everything else that changes what was told takes the next number of
-- a counter, so that a point in a conversation is (sequence, change).
ALTER TABLE conversations
    ADD COLUMN change_count bigint NOT NULL DEFAULT 0 CHECK (change_count >= 0),
    ADD COLUMN own_change bigint NOT NULL DEFAULT 0 CHECK (own_change BETWEEN 0 AND change_count);
COMMENT ON COLUMN conversations.change_count IS 'Counts what changed besides added messages: messages that were added before, analyses, the conversation itself.';
COMMENT ON COLUMN conversations.own_change IS 'The change_count at which the conversation''s own fields last changed; 0 when they never did.';

-- Null for every message that came whole, which keeps the index out of the way of
-- adding messages.
ALTER TABLE conversation_messages ADD COLUMN change bigint CHECK (change >= 1);
COMMENT ON COLUMN conversation_messages.change IS 'The change_count at which the message last changed after it was added; null when it never did.';
CREATE INDEX conversation_messages_change_idx ON conversation_messages (tenant_id, conversation_id, change) WHERE change IS NOT NULL;

ALTER TABLE conversation_analyses ADD COLUMN change bigint NOT NULL DEFAULT 0 CHECK (change >= 0);
COMMENT ON COLUMN conversation_analyses.change IS 'The change_count at which the analysis was recorded; 0 before there was one.';
CREATE INDEX conversation_analyses_change_idx ON conversation_analyses (tenant_id, conversation_id, change);

CREATE TABLE message_drafts (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    message_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    producer_id text COLLATE "C" NOT NULL DEFAULT '' CHECK (length(producer_id) <= 256),
    holder uuid NOT NULL,
    held_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT message_drafts_pkey PRIMARY KEY (tenant_id, message_id),
    CONSTRAINT message_drafts_message_fkey FOREIGN KEY (tenant_id, message_id) REFERENCES conversation_messages (tenant_id, id)
);

CREATE INDEX message_drafts_tenant_id_conversation_id_idx ON message_drafts (tenant_id, conversation_id);

ALTER TABLE message_drafts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON message_drafts TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON message_drafts TO crm_app;

COMMENT ON TABLE message_drafts IS 'The messages in progress, and who writes them.';
COMMENT ON COLUMN message_drafts.tenant_id IS 'The tenant.';
COMMENT ON COLUMN message_drafts.message_id IS 'The message.';
COMMENT ON COLUMN message_drafts.conversation_id IS 'Its conversation.';
COMMENT ON COLUMN message_drafts.producer_id IS 'Who writes it, in the client''s words.';
COMMENT ON COLUMN message_drafts.holder IS 'The stream that may write it; a later one of the same producer takes it over.';
COMMENT ON COLUMN message_drafts.held_at IS 'When that stream took it. The lease runs from then, and from every piece, by the clock of the database.';
COMMENT ON COLUMN message_drafts.created_at IS 'When the message came to be in progress.';
COMMENT ON COLUMN message_drafts.updated_at IS 'When another stream last took it.';
COMMENT ON COLUMN message_drafts.revision IS 'Counts the streams that held it, from 1.';

-- Appended while the message is in progress, read and deleted at its end.
CREATE TABLE message_pieces (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    message_id uuid NOT NULL,
    start_offset integer NOT NULL CHECK (start_offset >= 0),
    text text NOT NULL CHECK (octet_length(text) BETWEEN 1 AND 262144),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT message_pieces_pkey PRIMARY KEY (tenant_id, message_id, start_offset),
    CONSTRAINT message_pieces_draft_fkey FOREIGN KEY (tenant_id, message_id) REFERENCES message_drafts (tenant_id, message_id)
);

ALTER TABLE message_pieces ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON message_pieces TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON message_pieces TO crm_app;

COMMENT ON TABLE message_pieces IS 'Text of messages in progress, piece by piece.';
COMMENT ON COLUMN message_pieces.tenant_id IS 'The tenant.';
COMMENT ON COLUMN message_pieces.message_id IS 'The message.';
COMMENT ON COLUMN message_pieces.start_offset IS 'Where the piece begins in the message''s text, in bytes of UTF-8.';
COMMENT ON COLUMN message_pieces.text IS 'The piece.';
COMMENT ON COLUMN message_pieces.created_at IS 'When the piece was stored, by the clock of the database.';
COMMENT ON COLUMN message_pieces.updated_at IS 'The same as created_at.';
COMMENT ON COLUMN message_pieces.revision IS 'Always 1.';
