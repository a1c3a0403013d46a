DROP INDEX customer_faq_terms_term_idx;
ALTER TABLE customer_faq_terms DROP COLUMN place;
CREATE INDEX customer_faq_terms_term_idx ON customer_faq_terms (tenant_id, customer_id, term, weight, faq_id);
COMMENT ON COLUMN customer_faq_terms.term IS 'The word, as Postgres''s full text search makes it.';
