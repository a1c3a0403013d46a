-- Statements are planned once for all tenants. By its own statistics, Postgres takes a tenant for an average one: where
-- thousands of tenants have a conversation each, it expects one conversation of any tenant, and reads all those of the
-- tenant to find one by its id. So it is told that a column of tenants has a single value. Then it expects the rows of the
-- tenant that has the most. This counts from the next ANALYZE of a table, by autovacuum or by hand.
--
-- Citus does not take this setting. It plans statements for the values in them, so it knows which tenant is meant.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
        RETURN;
    END IF;
    ALTER TABLE audit_events ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE campaign_customers ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE campaign_events ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE campaigns ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE conversation_analyses ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE conversation_messages ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE conversations ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE customer_consents ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE customer_counts ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE customer_external_ids ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE customer_faq_terms ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE customer_faqs ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE customers ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE faq_observations ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE idempotency_keys ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE interest_events ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE message_drafts ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE message_pieces ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE pending_questions ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE purchase_refunds ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE purchases ALTER COLUMN tenant_id SET (n_distinct = 1);
    ALTER TABLE reindexing ALTER COLUMN tenant_id SET (n_distinct = 1);
END
$$;
