-- Of a word that many FAQs have, a search reads those first that are most about
-- it, however old they are.
ALTER TABLE customer_faq_terms ADD COLUMN place integer NOT NULL DEFAULT 0 CHECK (place >= 0);
COMMENT ON COLUMN customer_faq_terms.place IS 'Where the FAQ stands among those with the term: by whether its question has it, then by how few words it has, then by chance.';
COMMENT ON COLUMN customer_faq_terms.term IS 'The word as rpc::fold leaves it, or a stem that Postgres made of it; where there are no spaces between words, a pair of characters.';

DROP INDEX customer_faq_terms_term_idx;
CREATE INDEX customer_faq_terms_term_idx ON customer_faq_terms (tenant_id, customer_id, term, place, faq_id) INCLUDE (weight);
