DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RETURN;
    END IF;
    ALTER TABLE audit_events ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE campaign_customers ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE campaign_events ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE campaigns ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE conversation_analyses ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE conversation_messages ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE conversations ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE customer_consents ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE customer_counts ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE customer_external_ids ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE customer_faq_terms ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE customer_faqs ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE customers ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE faq_observations ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE idempotency_keys ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE interest_events ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE message_drafts ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE message_pieces ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE pending_questions ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE purchase_refunds ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE purchases ALTER COLUMN tenant_id RESET (n_distinct);
    ALTER TABLE reindexing ALTER COLUMN tenant_id RESET (n_distinct);
END
$$;
