DROP TABLE message_pieces;
DROP TABLE message_drafts;
DROP INDEX conversation_analyses_change_idx;
ALTER TABLE conversation_analyses DROP COLUMN change;
DROP INDEX conversation_messages_change_idx;
ALTER TABLE conversation_messages DROP COLUMN change;
ALTER TABLE conversations DROP COLUMN own_change, DROP COLUMN change_count;
