-- Null where the tokens are not counted yet: messages from before this column, messages in
-- progress, and long ones for a moment after they were added.
ALTER TABLE conversation_messages ADD COLUMN token_count integer CHECK (token_count >= 0);
COMMENT ON COLUMN conversation_messages.token_count IS 'Tokens (o200k_base) of the text as a context quotes it; null while not counted.';

-- What is still to be done for a customer, the next due first.
CREATE INDEX conversations_customer_follow_up_idx ON conversations (tenant_id, customer_id, follow_up_due_at, id) WHERE follow_up_needed;
