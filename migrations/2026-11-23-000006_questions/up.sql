ALTER TABLE pending_questions
    ADD COLUMN source_conversation_id uuid,
    ADD COLUMN skipped_at timestamptz,
    ADD COLUMN skip_reason text NOT NULL DEFAULT '' CHECK (length(skip_reason) <= 1024);
ALTER TABLE pending_questions
    ADD CONSTRAINT pending_questions_source_conversation_fkey FOREIGN KEY (tenant_id, source_conversation_id) REFERENCES conversations (tenant_id, id);
ALTER TABLE pending_questions
    ADD CONSTRAINT pending_questions_skipped_check CHECK (status NOT IN ('DECLINED', 'SKIPPED') OR skipped_at IS NOT NULL);
ALTER TABLE pending_questions
    ADD CONSTRAINT pending_questions_expired_check CHECK (status <> 'EXPIRED' OR expires_at IS NOT NULL);
COMMENT ON COLUMN pending_questions.source_conversation_id IS 'The conversation that the question came from; null if it came from no conversation.';
COMMENT ON COLUMN pending_questions.skipped_at IS 'When the question was last put aside, or declined.';
COMMENT ON COLUMN pending_questions.skip_reason IS 'Why the question was last put aside, or declined.';

-- A time to ask at may stand there beforehand; it counts with SCHEDULED alone.
ALTER TABLE pending_questions DROP CONSTRAINT pending_questions_scheduled_check;
ALTER TABLE pending_questions
    ADD CONSTRAINT pending_questions_scheduled_check CHECK (timing <> 'SCHEDULED' OR scheduled_at IS NOT NULL);
COMMENT ON COLUMN pending_questions.scheduled_at IS 'When to ask, if timing is SCHEDULED.';

-- As exact as it was sent.
ALTER TABLE pending_questions ALTER COLUMN confidence TYPE double precision;

-- What to ask a customer next: the most important first, then those asked least, then the oldest.
-- What not to ask: the latest first. The customer stands in an expression in all three, so that no
-- other index can answer instead: the planner would take one that reads all questions of a customer
-- where it takes them to be few.
CREATE INDEX pending_questions_next_idx ON pending_questions (
    tenant_id,
    (CASE WHEN status IN ('PENDING', 'ASKED') THEN customer_id END),
    (CASE priority WHEN 'URGENT' THEN 1 WHEN 'HIGH' THEN 2 WHEN 'NORMAL' THEN 3 ELSE 4 END),
    attempt_count, created_at, id
) WHERE CASE WHEN status IN ('PENDING', 'ASKED') THEN customer_id END IS NOT NULL;
CREATE INDEX pending_questions_declined_idx ON pending_questions (
    tenant_id, (CASE WHEN status = 'DECLINED' THEN customer_id END), skipped_at, id
) WHERE CASE WHEN status = 'DECLINED' THEN customer_id END IS NOT NULL;
CREATE INDEX pending_questions_answered_idx ON pending_questions (
    tenant_id, (CASE WHEN status IN ('ANSWERED', 'VERIFIED') THEN customer_id END), answered_at, id
) WHERE CASE WHEN status IN ('ANSWERED', 'VERIFIED') THEN customer_id END IS NOT NULL;
-- Lists of a tenant by one word, or of what has expired.
CREATE INDEX pending_questions_tenant_id_target_field_idx ON pending_questions (tenant_id, target_field, created_at, id)
    WHERE target_field <> '';
CREATE INDEX pending_questions_tenant_id_priority_idx ON pending_questions (tenant_id, priority, created_at, id);
CREATE INDEX pending_questions_tenant_id_timing_idx ON pending_questions (tenant_id, timing, created_at, id);
CREATE INDEX pending_questions_expiring_idx ON pending_questions (tenant_id, created_at, id)
    WHERE expires_at IS NOT NULL;
