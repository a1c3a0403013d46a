ALTER TABLE conversation_messages
    DROP CONSTRAINT conversation_messages_sequence_key;
ALTER TABLE conversation_messages
    ADD CONSTRAINT conversation_messages_sequence_key UNIQUE (tenant_id, conversation_id, sequence);
ALTER TABLE conversation_messages
    DROP COLUMN ai_model,
    DROP COLUMN ai_prompt_tokens,
    DROP COLUMN ai_completion_tokens,
    DROP COLUMN ai_cached_tokens,
    DROP COLUMN ai_response_duration_us;
