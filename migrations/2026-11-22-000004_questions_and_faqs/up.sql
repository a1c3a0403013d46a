CREATE TABLE pending_questions (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    question text NOT NULL CHECK (length(question) BETWEEN 1 AND 2048),
    target_field text COLLATE "C" NOT NULL DEFAULT '' CHECK (length(target_field) <= 128),
    purpose text NOT NULL DEFAULT '' CHECK (length(purpose) <= 2048),
    priority text NOT NULL CHECK (priority IN ('LOW', 'NORMAL', 'HIGH', 'URGENT')),
    timing text NOT NULL CHECK (timing IN (
        'IMMEDIATE', 'NEXT_MESSAGE', 'NEXT_CONVERSATION', 'WHEN_RELEVANT', 'BEFORE_PURCHASE', 'AFTER_PURCHASE', 'SCHEDULED')),
    scheduled_at timestamptz,
    status text NOT NULL CHECK (status IN (
        'PENDING', 'ASKED', 'ANSWERED', 'VERIFIED', 'DECLINED', 'SKIPPED', 'EXPIRED')),
    asked_at timestamptz,
    asked_conversation_id uuid,
    asked_message_id uuid,
    answered_at timestamptz,
    answered_conversation_id uuid,
    answered_message_id uuid,
    answer text NOT NULL DEFAULT '' CHECK (length(answer) <= 8192),
    confidence real CHECK (confidence BETWEEN 0 AND 1),
    verified_at timestamptz,
    verified_by text NOT NULL DEFAULT '' CHECK (length(verified_by) <= 256),
    attempt_count integer NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
    cooldown_until timestamptz,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT pending_questions_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT pending_questions_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT pending_questions_asked_conversation_fkey FOREIGN KEY (tenant_id, asked_conversation_id) REFERENCES conversations (tenant_id, id),
    CONSTRAINT pending_questions_asked_message_fkey FOREIGN KEY (tenant_id, asked_message_id) REFERENCES conversation_messages (tenant_id, id),
    CONSTRAINT pending_questions_answered_conversation_fkey FOREIGN KEY (tenant_id, answered_conversation_id) REFERENCES conversations (tenant_id, id),
    CONSTRAINT pending_questions_answered_message_fkey FOREIGN KEY (tenant_id, answered_message_id) REFERENCES conversation_messages (tenant_id, id),
    CONSTRAINT pending_questions_scheduled_check CHECK ((timing = 'SCHEDULED') = (scheduled_at IS NOT NULL)),
    CONSTRAINT pending_questions_asked_check CHECK ((attempt_count > 0) = (asked_at IS NOT NULL)),
    CONSTRAINT pending_questions_answered_check CHECK (status NOT IN ('ANSWERED', 'VERIFIED') OR (answered_at IS NOT NULL AND answer <> '')),
    CONSTRAINT pending_questions_verified_check CHECK ((status = 'VERIFIED') = (verified_at IS NOT NULL))
);

-- One open question for one field of a customer: a second one is the first one.
CREATE UNIQUE INDEX pending_questions_open_target_field_key
    ON pending_questions (tenant_id, customer_id, target_field)
    WHERE target_field <> '' AND status IN ('PENDING', 'ASKED');
CREATE INDEX pending_questions_tenant_id_customer_id_idx ON pending_questions (tenant_id, customer_id, created_at, id);
CREATE INDEX pending_questions_tenant_id_created_at_idx ON pending_questions (tenant_id, created_at, id);
CREATE INDEX pending_questions_tenant_id_status_idx ON pending_questions (tenant_id, status, created_at, id);

ALTER TABLE pending_questions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON pending_questions TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON pending_questions TO crm_app;

COMMENT ON TABLE pending_questions IS 'What is still to be asked of a customer, across its conversations.';
COMMENT ON COLUMN pending_questions.tenant_id IS 'The tenant.';
COMMENT ON COLUMN pending_questions.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN pending_questions.customer_id IS 'The customer to ask.';
COMMENT ON COLUMN pending_questions.question IS 'The question.';
COMMENT ON COLUMN pending_questions.target_field IS 'The field of the customer that the answer fills, e.g. business_context.goals; empty if it fills no field.';
COMMENT ON COLUMN pending_questions.purpose IS 'What the answer is for.';
COMMENT ON COLUMN pending_questions.priority IS 'How much it matters.';
COMMENT ON COLUMN pending_questions.timing IS 'When to ask.';
COMMENT ON COLUMN pending_questions.scheduled_at IS 'When to ask, where timing is SCHEDULED.';
COMMENT ON COLUMN pending_questions.status IS 'How far it has come.';
COMMENT ON COLUMN pending_questions.asked_at IS 'When it was last asked.';
COMMENT ON COLUMN pending_questions.asked_conversation_id IS 'The conversation in which it was last asked.';
COMMENT ON COLUMN pending_questions.asked_message_id IS 'The message with which it was last asked.';
COMMENT ON COLUMN pending_questions.answered_at IS 'When it was answered.';
COMMENT ON COLUMN pending_questions.answered_conversation_id IS 'The conversation in which it was answered.';
COMMENT ON COLUMN pending_questions.answered_message_id IS 'The message with which it was answered.';
COMMENT ON COLUMN pending_questions.answer IS 'The answer.';
COMMENT ON COLUMN pending_questions.confidence IS 'How sure the writer of the answer is, 0 to 1.';
COMMENT ON COLUMN pending_questions.verified_at IS 'When the answer was verified.';
COMMENT ON COLUMN pending_questions.verified_by IS 'Who verified the answer.';
COMMENT ON COLUMN pending_questions.attempt_count IS 'How often it was asked.';
COMMENT ON COLUMN pending_questions.cooldown_until IS 'Not to be asked again before then.';
COMMENT ON COLUMN pending_questions.expires_at IS 'Not to be asked any more after then.';
COMMENT ON COLUMN pending_questions.created_at IS 'When the question was created.';
COMMENT ON COLUMN pending_questions.updated_at IS 'When the question last changed.';
COMMENT ON COLUMN pending_questions.revision IS 'Counts the changes of the question, from 1; the etag.';

CREATE TABLE customer_faqs (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    question text NOT NULL CHECK (length(question) BETWEEN 1 AND 2048),
    normalized_question text COLLATE "C" NOT NULL,
    answer text NOT NULL DEFAULT '' CHECK (length(answer) <= 16384),
    category text NOT NULL DEFAULT '' CHECK (length(category) <= 128),
    source text NOT NULL CHECK (source IN ('CONVERSATION', 'HUMAN', 'DOCUMENT', 'WEBSITE', 'IMPORT', 'AI')),
    source_conversation_id uuid,
    source_message_id uuid,
    status text NOT NULL CHECK (status IN ('CANDIDATE', 'APPROVED', 'REJECTED', 'ARCHIVED', 'CONFLICT')),
    verification text NOT NULL CHECK (verification IN ('UNVERIFIED', 'AI_CHECKED', 'HUMAN_VERIFIED', 'DISPUTED')),
    verified_by text NOT NULL DEFAULT '' CHECK (length(verified_by) <= 256),
    verified_at timestamptz,
    reported_confidence real CHECK (reported_confidence BETWEEN 0 AND 1),
    derived_confidence real NOT NULL DEFAULT 0 CHECK (derived_confidence BETWEEN 0 AND 1),
    usage_count bigint NOT NULL DEFAULT 0 CHECK (usage_count >= 0),
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT customer_faqs_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT customer_faqs_question_key UNIQUE (tenant_id, customer_id, normalized_question),
    CONSTRAINT customer_faqs_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT customer_faqs_source_conversation_fkey FOREIGN KEY (tenant_id, source_conversation_id) REFERENCES conversations (tenant_id, id),
    CONSTRAINT customer_faqs_source_message_fkey FOREIGN KEY (tenant_id, source_message_id) REFERENCES conversation_messages (tenant_id, id),
    CONSTRAINT customer_faqs_verified_check CHECK ((verified_at IS NULL) = (verification = 'UNVERIFIED'))
);

CREATE INDEX customer_faqs_tenant_id_customer_id_idx ON customer_faqs (tenant_id, customer_id, created_at, id);
CREATE INDEX customer_faqs_tenant_id_created_at_idx ON customer_faqs (tenant_id, created_at, id);
CREATE INDEX customer_faqs_tenant_id_status_idx ON customer_faqs (tenant_id, status, created_at, id);

ALTER TABLE customer_faqs ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON customer_faqs TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON customer_faqs TO crm_app;

COMMENT ON TABLE customer_faqs IS 'Questions that a customer or its clientele asks, with their answers.';
COMMENT ON COLUMN customer_faqs.tenant_id IS 'The tenant.';
COMMENT ON COLUMN customer_faqs.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN customer_faqs.customer_id IS 'The customer.';
COMMENT ON COLUMN customer_faqs.question IS 'The question.';
COMMENT ON COLUMN customer_faqs.normalized_question IS 'The question without differences that do not matter, by which it is recognised; made by the service.';
COMMENT ON COLUMN customer_faqs.answer IS 'The answer.';
COMMENT ON COLUMN customer_faqs.category IS 'A heading to file it under.';
COMMENT ON COLUMN customer_faqs.source IS 'Where it came from.';
COMMENT ON COLUMN customer_faqs.source_conversation_id IS 'The conversation that it came from.';
COMMENT ON COLUMN customer_faqs.source_message_id IS 'The message that it came from.';
COMMENT ON COLUMN customer_faqs.status IS 'Whether it may be used.';
COMMENT ON COLUMN customer_faqs.verification IS 'Whether the answer was verified, and how.';
COMMENT ON COLUMN customer_faqs.verified_by IS 'Who checked it.';
COMMENT ON COLUMN customer_faqs.verified_at IS 'When it was checked.';
COMMENT ON COLUMN customer_faqs.reported_confidence IS 'How sure the writer is, 0 to 1.';
COMMENT ON COLUMN customer_faqs.derived_confidence IS 'How sure the service is, 0 to 1.';
COMMENT ON COLUMN customer_faqs.usage_count IS 'How often it was used.';
COMMENT ON COLUMN customer_faqs.last_used_at IS 'When it was last used.';
COMMENT ON COLUMN customer_faqs.created_at IS 'When the FAQ was created.';
COMMENT ON COLUMN customer_faqs.updated_at IS 'When the FAQ last changed.';
COMMENT ON COLUMN customer_faqs.revision IS 'Counts the changes of the FAQ, from 1; the etag.';
