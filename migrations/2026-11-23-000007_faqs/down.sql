DROP TABLE customer_faq_terms;
DROP TABLE faq_observations;
DROP INDEX customer_faqs_tenant_id_category_idx;
DROP INDEX customer_faqs_tenant_id_source_idx;
DROP INDEX customer_faqs_tenant_id_verification_idx;
DROP INDEX customer_faqs_tenant_id_customer_id_active_at_idx;
ALTER TABLE customer_faqs
    DROP COLUMN search_config,
    DROP COLUMN active_at,
    DROP COLUMN last_observed_at,
    DROP COLUMN conflicting_confidence,
    DROP COLUMN conflicting_count,
    DROP COLUMN agreeing_confidence,
    DROP COLUMN agreeing_count,
    DROP COLUMN observation_count,
    ALTER COLUMN derived_confidence TYPE real,
    ALTER COLUMN reported_confidence TYPE real;
