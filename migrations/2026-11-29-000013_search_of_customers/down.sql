DROP VIEW customer_list;
UPDATE customers SET phone = left(phone, 40) WHERE length(phone) > 40;
ALTER TABLE customers
    DROP COLUMN phone_e164,
    DROP CONSTRAINT customers_phone_check;
ALTER TABLE customers
    ADD CONSTRAINT customers_phone_check CHECK (length(phone) <= 40);
COMMENT ON COLUMN customers.phone IS 'The telephone number of the contact.';
COMMENT ON COLUMN customers.sort_name IS 'business_name without case and accents, for ordering; made by the service.';
COMMENT ON COLUMN customers.search_vector IS 'The words to find the customer by, each after the mark of its tenant; made by the service.';
CREATE VIEW customer_list AS
    SELECT *
    FROM customers
    WHERE tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid;
GRANT SELECT ON customer_list TO crm_app;
COMMENT ON VIEW customer_list IS 'The customers of the transaction''s tenant, with the index on their words within reach.';
