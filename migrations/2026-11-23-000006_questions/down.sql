DROP INDEX pending_questions_expiring_idx;
DROP INDEX pending_questions_tenant_id_timing_idx;
DROP INDEX pending_questions_tenant_id_priority_idx;
DROP INDEX pending_questions_tenant_id_target_field_idx;
DROP INDEX pending_questions_answered_idx;
DROP INDEX pending_questions_declined_idx;
DROP INDEX pending_questions_next_idx;
ALTER TABLE pending_questions ALTER COLUMN confidence TYPE real;
UPDATE pending_questions SET scheduled_at = NULL WHERE timing <> 'SCHEDULED';
ALTER TABLE pending_questions
    DROP CONSTRAINT pending_questions_scheduled_check;
ALTER TABLE pending_questions
    ADD CONSTRAINT pending_questions_scheduled_check CHECK ((timing = 'SCHEDULED') = (scheduled_at IS NOT NULL));
COMMENT ON COLUMN pending_questions.scheduled_at IS 'When to ask, where timing is SCHEDULED.';
ALTER TABLE pending_questions
    DROP CONSTRAINT pending_questions_expired_check,
    DROP CONSTRAINT pending_questions_skipped_check,
    DROP CONSTRAINT pending_questions_source_conversation_fkey,
    DROP COLUMN skip_reason,
    DROP COLUMN skipped_at,
    DROP COLUMN source_conversation_id;
