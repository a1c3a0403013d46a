DROP INDEX conversations_customer_follow_up_idx;
ALTER TABLE conversation_messages DROP COLUMN token_count;
