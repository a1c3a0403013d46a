-- What is observed of FAQs, what it adds up to, and the words by which they are
-- found.

-- No FAQ has been written yet, so that this changes no row. A real gives back
-- another number than the one that a client sent.
ALTER TABLE customer_faqs
    ALTER COLUMN reported_confidence TYPE double precision,
    ALTER COLUMN derived_confidence TYPE double precision,
    ADD COLUMN observation_count bigint NOT NULL DEFAULT 0 CHECK (observation_count >= 0),
    ADD COLUMN agreeing_count bigint NOT NULL DEFAULT 0 CHECK (agreeing_count >= 0),
    ADD COLUMN agreeing_confidence double precision NOT NULL DEFAULT 0 CHECK (agreeing_confidence >= 0),
    ADD COLUMN conflicting_count bigint NOT NULL DEFAULT 0 CHECK (conflicting_count >= 0),
    ADD COLUMN conflicting_confidence double precision NOT NULL DEFAULT 0 CHECK (conflicting_confidence >= 0),
    ADD COLUMN last_observed_at timestamptz,
    ADD COLUMN active_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN search_config text NOT NULL DEFAULT 'simple' CHECK (length(search_config) BETWEEN 1 AND 63);

COMMENT ON COLUMN customer_faqs.observation_count IS 'How often the question was observed to be asked.';
COMMENT ON COLUMN customer_faqs.agreeing_count IS 'Observations that gave this answer, since it was last changed.';
COMMENT ON COLUMN customer_faqs.agreeing_confidence IS 'The sum of their confidences.';
COMMENT ON COLUMN customer_faqs.conflicting_count IS 'Observations that gave another answer, since that was last settled.';
COMMENT ON COLUMN customer_faqs.conflicting_confidence IS 'The sum of their confidences.';
COMMENT ON COLUMN customer_faqs.last_observed_at IS 'When the question was last observed to be asked.';
COMMENT ON COLUMN customer_faqs.active_at IS 'When the FAQ was last changed or observed; what recency in a search is about.';
COMMENT ON COLUMN customer_faqs.search_config IS 'The text search configuration that its words were made with.';

CREATE INDEX customer_faqs_tenant_id_customer_id_active_at_idx ON customer_faqs (tenant_id, customer_id, active_at);
CREATE INDEX customer_faqs_tenant_id_verification_idx ON customer_faqs (tenant_id, verification, created_at, id);
CREATE INDEX customer_faqs_tenant_id_source_idx ON customer_faqs (tenant_id, source, created_at, id);
CREATE INDEX customer_faqs_tenant_id_category_idx ON customer_faqs (tenant_id, category, created_at, id);

CREATE TABLE faq_observations (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    faq_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ASKED', 'USED')),
    question text NOT NULL DEFAULT '' CHECK (length(question) <= 2048),
    answer text NOT NULL DEFAULT '' CHECK (length(answer) <= 16384),
    agreement text CHECK (agreement IN ('AGREES', 'CONFLICTS')),
    conversation_id uuid,
    message_id uuid,
    confidence double precision CHECK (confidence BETWEEN 0 AND 1),
    observed_by text NOT NULL DEFAULT '' CHECK (length(observed_by) <= 256),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT faq_observations_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT faq_observations_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT faq_observations_faq_fkey FOREIGN KEY (tenant_id, faq_id) REFERENCES customer_faqs (tenant_id, id),
    CONSTRAINT faq_observations_conversation_fkey FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id),
    CONSTRAINT faq_observations_message_fkey FOREIGN KEY (tenant_id, message_id) REFERENCES conversation_messages (tenant_id, id),
    CONSTRAINT faq_observations_message_check CHECK (message_id IS NULL OR conversation_id IS NOT NULL),
    CONSTRAINT faq_observations_used_check CHECK (kind <> 'USED' OR answer = '')
);

-- A message is counted once.
CREATE UNIQUE INDEX faq_observations_message_key ON faq_observations (tenant_id, faq_id, message_id, kind)
    WHERE message_id IS NOT NULL;
CREATE INDEX faq_observations_tenant_id_faq_id_idx ON faq_observations (tenant_id, faq_id, created_at, id);

ALTER TABLE faq_observations ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON faq_observations TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON faq_observations TO crm_app;

COMMENT ON TABLE faq_observations IS 'Each time that a question was asked or a FAQ was used. Rows never change.';
COMMENT ON COLUMN faq_observations.tenant_id IS 'The tenant.';
COMMENT ON COLUMN faq_observations.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN faq_observations.customer_id IS 'The customer of the FAQ.';
COMMENT ON COLUMN faq_observations.faq_id IS 'The FAQ.';
COMMENT ON COLUMN faq_observations.kind IS 'What was observed.';
COMMENT ON COLUMN faq_observations.question IS 'The question as it was asked; empty if unspecified.';
COMMENT ON COLUMN faq_observations.answer IS 'The answer that was given; empty when there was none.';
COMMENT ON COLUMN faq_observations.agreement IS 'How the answer stood to the FAQ''s at that moment; null without an answer.';
COMMENT ON COLUMN faq_observations.conversation_id IS 'The conversation; null if unspecified.';
COMMENT ON COLUMN faq_observations.message_id IS 'The message; null if unspecified.';
COMMENT ON COLUMN faq_observations.confidence IS 'How sure the observer is, 0 to 1; null if unspecified.';
COMMENT ON COLUMN faq_observations.observed_by IS 'Who observed it, in the client''s words.';
COMMENT ON COLUMN faq_observations.created_at IS 'When the observation was recorded.';
COMMENT ON COLUMN faq_observations.updated_at IS 'The same as created_at.';
COMMENT ON COLUMN faq_observations.revision IS 'Always 1.';

-- `@@` is not leakproof: under a policy it uses no index. Equal terms do.
CREATE TABLE customer_faq_terms (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    customer_id uuid NOT NULL,
    faq_id uuid NOT NULL,
    term text COLLATE "C" NOT NULL CHECK (octet_length(term) BETWEEN 1 AND 255),
    weight real NOT NULL CHECK (weight > 0 AND weight <= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT customer_faq_terms_pkey PRIMARY KEY (tenant_id, faq_id, term),
    CONSTRAINT customer_faq_terms_faq_fkey FOREIGN KEY (tenant_id, faq_id) REFERENCES customer_faqs (tenant_id, id)
);

-- Of a word that many FAQs have, a search reads the end of its entries.
CREATE INDEX customer_faq_terms_term_idx ON customer_faq_terms (tenant_id, customer_id, term, weight, faq_id);

ALTER TABLE customer_faq_terms ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON customer_faq_terms TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON customer_faq_terms TO crm_app;

COMMENT ON TABLE customer_faq_terms IS 'The words by which FAQs are found: their stems, and as they are written. FAQs that are rejected or archived have none.';
COMMENT ON COLUMN customer_faq_terms.tenant_id IS 'The tenant.';
COMMENT ON COLUMN customer_faq_terms.customer_id IS 'The customer of the FAQ.';
COMMENT ON COLUMN customer_faq_terms.faq_id IS 'The FAQ.';
COMMENT ON COLUMN customer_faq_terms.term IS 'The word, as Postgres''s full text search makes it.';
COMMENT ON COLUMN customer_faq_terms.weight IS 'How much it counts: 1 where the question has it, less where only the answer does.';
COMMENT ON COLUMN customer_faq_terms.created_at IS 'When the words of the FAQ were made.';
COMMENT ON COLUMN customer_faq_terms.updated_at IS 'The same as created_at.';
COMMENT ON COLUMN customer_faq_terms.revision IS 'Always 1.';
