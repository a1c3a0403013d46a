ALTER TABLE pending_questions DROP COLUMN written_at;
