-- Adding a message changes last_sequence and last_message_at only. No index has
-- them, and pages keep room, so that this update stays within its page (HOT).
CREATE TABLE conversations (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    session_id text COLLATE "C" NOT NULL CHECK (length(session_id) BETWEEN 1 AND 256),
    entry_point text CHECK (entry_point IN (
        'WEBSITE_WIDGET', 'LANDING_PAGE', 'IN_APP', 'EMAIL', 'SMS', 'WHATSAPP', 'INSTAGRAM', 'MESSENGER', 'TELEGRAM',
        'PHONE', 'VIDEO', 'QR_CODE', 'CAMPAIGN', 'REFERRAL', 'EVENT', 'API', 'IMPORT', 'OTHER')),
    contact_channel text CHECK (contact_channel IN (
        'EMAIL', 'SMS', 'WHATSAPP', 'PHONE', 'SOCIAL', 'ADS', 'WEB', 'IN_APP', 'POST', 'EVENT', 'OTHER')),
    modality text NOT NULL CHECK (modality IN ('TEXT', 'VOICE', 'VIDEO', 'EMAIL', 'MULTIMODAL')),
    environment text NOT NULL CHECK (environment IN ('LIVE', 'TEST', 'SIMULATION')),
    presenter_kind text NOT NULL CHECK (presenter_kind IN ('AI_AGENT', 'HUMAN_AGENT', 'HYBRID', 'SYSTEM')),
    presenter_id text NOT NULL DEFAULT '' CHECK (length(presenter_id) <= 256),
    presenter_name text NOT NULL DEFAULT '' CHECK (length(presenter_name) <= 128),
    presenter_persona text NOT NULL DEFAULT '' CHECK (length(presenter_persona) <= 4096),
    status text NOT NULL CHECK (status IN (
        'OPEN', 'WAITING_ON_CUSTOMER', 'WAITING_ON_AGENT', 'SNOOZED', 'ENDED', 'ABANDONED')),
    started_at timestamptz NOT NULL,
    ended_at timestamptz CHECK (ended_at >= started_at),
    last_sequence bigint NOT NULL DEFAULT 0 CHECK (last_sequence >= 0),
    last_message_at timestamptz,
    latest_analysis jsonb CHECK (jsonb_typeof(latest_analysis) = 'object'),
    outcome text CHECK (outcome IN (
        'PURCHASED', 'MEETING_BOOKED', 'QUALIFIED', 'INTERESTED', 'INFORMATION_GIVEN', 'RESOLVED', 'HANDED_OFF',
        'FOLLOW_UP_NEEDED', 'NOT_INTERESTED', 'DISQUALIFIED', 'NO_RESPONSE', 'SPAM')),
    outcome_notes text NOT NULL DEFAULT '' CHECK (length(outcome_notes) <= 4096),
    handoff_reason text CHECK (handoff_reason IN (
        'CUSTOMER_REQUEST', 'MISSING_KNOWLEDGE', 'UNSUPPORTED_REQUEST', 'POLICY_RESTRICTION', 'TOOL_FAILURE',
        'USAGE_LIMIT', 'NEGATIVE_FEEDBACK')),
    follow_up_needed boolean NOT NULL DEFAULT false,
    follow_up_due_at timestamptz,
    follow_up_notes text NOT NULL DEFAULT '' CHECK (length(follow_up_notes) <= 4096),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT conversations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT conversations_tenant_id_session_id_key UNIQUE (tenant_id, session_id),
    CONSTRAINT conversations_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT conversations_ended_check CHECK ((status IN ('ENDED', 'ABANDONED')) = (ended_at IS NOT NULL)),
    CONSTRAINT conversations_counter_check CHECK ((last_sequence = 0) = (last_message_at IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX conversations_tenant_id_started_at_idx ON conversations (tenant_id, started_at, id);
CREATE INDEX conversations_tenant_id_updated_at_idx ON conversations (tenant_id, updated_at, id);
CREATE INDEX conversations_tenant_id_customer_id_idx ON conversations (tenant_id, customer_id, started_at, id);
CREATE INDEX conversations_tenant_id_status_idx ON conversations (tenant_id, status, started_at, id);
CREATE INDEX conversations_tenant_id_entry_point_idx ON conversations (tenant_id, entry_point, started_at, id);
CREATE INDEX conversations_tenant_id_presenter_id_idx ON conversations (tenant_id, presenter_id, started_at, id);
CREATE INDEX conversations_tenant_id_outcome_idx ON conversations (tenant_id, outcome, started_at, id);
CREATE INDEX conversations_tenant_id_follow_up_due_at_idx ON conversations (tenant_id, follow_up_due_at, id) WHERE follow_up_needed;

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON conversations TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON conversations TO crm_app;

COMMENT ON TABLE conversations IS 'Every talk of a tenant with a customer.';
COMMENT ON COLUMN conversations.tenant_id IS 'The tenant.';
COMMENT ON COLUMN conversations.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN conversations.customer_id IS 'The customer.';
COMMENT ON COLUMN conversations.session_id IS 'Names the conversation in the client''s words, once in a tenant.';
COMMENT ON COLUMN conversations.entry_point IS 'Where the conversation began; null if unspecified.';
COMMENT ON COLUMN conversations.contact_channel IS 'The way to the person; null when unspecified.';
COMMENT ON COLUMN conversations.modality IS 'How both sides talk: text, voice and so on.';
COMMENT ON COLUMN conversations.environment IS 'Tells real conversations from others.';
COMMENT ON COLUMN conversations.presenter_kind IS 'What speaks for the tenant.';
COMMENT ON COLUMN conversations.presenter_id IS 'The presenter''s id, in the client''s words.';
COMMENT ON COLUMN conversations.presenter_name IS 'What the presenter calls itself.';
COMMENT ON COLUMN conversations.presenter_persona IS 'The part that the presenter plays.';
COMMENT ON COLUMN conversations.status IS 'The state; ENDED and ABANDONED are final.';
COMMENT ON COLUMN conversations.started_at IS 'When the conversation began.';
COMMENT ON COLUMN conversations.ended_at IS 'When the conversation ended; null while it has not.';
COMMENT ON COLUMN conversations.last_sequence IS 'Sequence of the last message, which is also how many there are.';
COMMENT ON COLUMN conversations.last_message_at IS 'When the last message was added; null if the conversation has no message.';
COMMENT ON COLUMN conversations.latest_analysis IS 'A copy of the analysis that covers most; analyses never change, so it cannot go stale.';
COMMENT ON COLUMN conversations.outcome IS 'What came of the conversation; null when not known.';
COMMENT ON COLUMN conversations.outcome_notes IS 'More about the outcome.';
COMMENT ON COLUMN conversations.handoff_reason IS 'Why a person or another agent took over; null if the conversation was not handed off.';
COMMENT ON COLUMN conversations.follow_up_needed IS 'Whether something is left to do.';
COMMENT ON COLUMN conversations.follow_up_due_at IS 'Until when it is to be done.';
COMMENT ON COLUMN conversations.follow_up_notes IS 'What is left to do.';
COMMENT ON COLUMN conversations.metadata IS 'The client''s own object.';
COMMENT ON COLUMN conversations.created_at IS 'When the conversation was created here.';
COMMENT ON COLUMN conversations.updated_at IS 'When the conversation''s own fields last changed; messages do not change it.';
COMMENT ON COLUMN conversations.revision IS 'Counts the changes of the conversation''s own fields, from 1; the etag.';

CREATE TABLE conversation_messages (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    sequence bigint NOT NULL CHECK (sequence >= 1),
    message_key text COLLATE "C" NOT NULL CHECK (length(message_key) BETWEEN 1 AND 256),
    role text NOT NULL CHECK (role IN ('USER', 'ASSISTANT', 'AGENT', 'SYSTEM', 'TOOL')),
    author text NOT NULL DEFAULT '' CHECK (length(author) <= 256),
    status text NOT NULL CHECK (status IN ('IN_PROGRESS', 'COMPLETED', 'INCOMPLETE', 'FAILED', 'REDACTED')),
    content text NOT NULL CHECK (octet_length(content) <= 262144),
    content_type text NOT NULL CHECK (length(content_type) BETWEEN 1 AND 128),
    ai jsonb CHECK (jsonb_typeof(ai) = 'object'),
    actions jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(actions) = 'array'),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    sent_at timestamptz,
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT conversation_messages_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT conversation_messages_sequence_key UNIQUE (tenant_id, conversation_id, sequence),
    CONSTRAINT conversation_messages_message_key_key UNIQUE (tenant_id, conversation_id, message_key),
    CONSTRAINT conversation_messages_conversation_fkey FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id)
);

ALTER TABLE conversation_messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON conversation_messages TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON conversation_messages TO crm_app;

COMMENT ON TABLE conversation_messages IS 'What was said in conversations.';
COMMENT ON COLUMN conversation_messages.tenant_id IS 'The tenant.';
COMMENT ON COLUMN conversation_messages.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN conversation_messages.conversation_id IS 'The conversation.';
COMMENT ON COLUMN conversation_messages.sequence IS 'Place in the conversation: 1, 2, 3 and so on without a hole.';
COMMENT ON COLUMN conversation_messages.message_key IS 'The client''s key, once in a conversation.';
COMMENT ON COLUMN conversation_messages.role IS 'Whose words these are.';
COMMENT ON COLUMN conversation_messages.author IS 'Who it was, in the client''s words.';
COMMENT ON COLUMN conversation_messages.status IS 'How far the message has come.';
COMMENT ON COLUMN conversation_messages.content IS 'The text.';
COMMENT ON COLUMN conversation_messages.content_type IS 'The media type of the text.';
COMMENT ON COLUMN conversation_messages.ai IS 'How a model made it: provider, model, prompt_tokens, completion_tokens, cached_tokens, response_duration_us, time_to_first_token_us, finish_reason; null if no model made it.';
COMMENT ON COLUMN conversation_messages.actions IS 'What was done for it, in order: id, name, arguments, result, status; arguments and result are text, kept to the letter.';
COMMENT ON COLUMN conversation_messages.metadata IS 'The client''s own object.';
COMMENT ON COLUMN conversation_messages.sent_at IS 'When it was said by the client''s clock; null when not told.';
COMMENT ON COLUMN conversation_messages.fingerprint IS 'SHA-256 of the message as it was sent; another one under the same key means that the key was used again.';
COMMENT ON COLUMN conversation_messages.created_at IS 'When the message was added.';
COMMENT ON COLUMN conversation_messages.updated_at IS 'When the message last changed.';
COMMENT ON COLUMN conversation_messages.revision IS 'Counts the changes of the message, from 1; the etag.';

CREATE TABLE conversation_analyses (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    version integer NOT NULL CHECK (version >= 1),
    model text NOT NULL DEFAULT '' CHECK (length(model) <= 128),
    covers_through_sequence bigint NOT NULL CHECK (covers_through_sequence >= 0),
    topics text[] NOT NULL DEFAULT '{}' CHECK (array_position(topics, NULL) IS NULL),
    questions text[] NOT NULL DEFAULT '{}' CHECK (array_position(questions, NULL) IS NULL),
    objections jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(objections) = 'array'),
    sentiment jsonb CHECK (jsonb_typeof(sentiment) = 'object'),
    summary text NOT NULL DEFAULT '' CHECK (length(summary) <= 16384),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT conversation_analyses_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT conversation_analyses_version_key UNIQUE (tenant_id, conversation_id, version),
    CONSTRAINT conversation_analyses_conversation_fkey FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id)
);

ALTER TABLE conversation_analyses ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON conversation_analyses TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
-- Append-only: an analysis never changes.
GRANT SELECT, INSERT ON conversation_analyses TO crm_app;

COMMENT ON TABLE conversation_analyses IS 'What was made of a conversation, version after version.';
COMMENT ON COLUMN conversation_analyses.tenant_id IS 'The tenant.';
COMMENT ON COLUMN conversation_analyses.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN conversation_analyses.conversation_id IS 'The conversation.';
COMMENT ON COLUMN conversation_analyses.version IS 'Counts the analyses of the conversation, from 1.';
COMMENT ON COLUMN conversation_analyses.model IS 'What made it.';
COMMENT ON COLUMN conversation_analyses.covers_through_sequence IS 'Sequence of the last message that it has seen.';
COMMENT ON COLUMN conversation_analyses.topics IS 'What was talked about.';
COMMENT ON COLUMN conversation_analyses.questions IS 'What the customer asked.';
COMMENT ON COLUMN conversation_analyses.objections IS 'What the customer had against it: kind, status, evidence.';
COMMENT ON COLUMN conversation_analyses.sentiment IS 'The customer''s mood: score, magnitude, label, trend; null if unspecified.';
COMMENT ON COLUMN conversation_analyses.summary IS 'The conversation in short.';
COMMENT ON COLUMN conversation_analyses.created_at IS 'When the analysis was recorded.';
COMMENT ON COLUMN conversation_analyses.updated_at IS 'The same as created_at.';
COMMENT ON COLUMN conversation_analyses.revision IS 'Always 1.';
