-- An answer that is sent again must not undo what the customer has come to say since it was written there.
ALTER TABLE pending_questions ADD COLUMN written_at timestamptz;
COMMENT ON COLUMN pending_questions.written_at IS 'When the answer was written into the customer; null while it was not.';
