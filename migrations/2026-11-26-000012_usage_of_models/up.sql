-- What a model used, as columns: the index that gives the messages of a conversation in their order has
-- them too, so that usage is added up from it without a look at the messages.
ALTER TABLE conversation_messages
    ADD COLUMN ai_model text GENERATED ALWAYS AS (CASE WHEN ai IS NOT NULL THEN coalesce(ai ->> 'model', '') END) STORED,
    ADD COLUMN ai_prompt_tokens bigint GENERATED ALWAYS AS ((ai ->> 'prompt_tokens')::bigint) STORED,
    ADD COLUMN ai_completion_tokens bigint GENERATED ALWAYS AS ((ai ->> 'completion_tokens')::bigint) STORED,
    ADD COLUMN ai_cached_tokens bigint GENERATED ALWAYS AS ((ai ->> 'cached_tokens')::bigint) STORED,
    ADD COLUMN ai_response_duration_us bigint GENERATED ALWAYS AS ((ai ->> 'response_duration_us')::bigint) STORED;
ALTER TABLE conversation_messages DROP CONSTRAINT conversation_messages_sequence_key;
ALTER TABLE conversation_messages
    ADD CONSTRAINT conversation_messages_sequence_key UNIQUE (tenant_id, conversation_id, sequence)
        INCLUDE (ai_model, ai_prompt_tokens, ai_completion_tokens, ai_cached_tokens, ai_response_duration_us);

COMMENT ON COLUMN conversation_messages.ai_model IS 'The model that made it, empty if ai does not name it; null if no model made it. Of ai, as all columns ai_….';
COMMENT ON COLUMN conversation_messages.ai_prompt_tokens IS 'Tokens of the prompt.';
COMMENT ON COLUMN conversation_messages.ai_completion_tokens IS 'Tokens of the answer.';
COMMENT ON COLUMN conversation_messages.ai_cached_tokens IS 'Tokens of the prompt that came from a cache.';
COMMENT ON COLUMN conversation_messages.ai_response_duration_us IS 'How long the model took, in microseconds; null when not told.';
