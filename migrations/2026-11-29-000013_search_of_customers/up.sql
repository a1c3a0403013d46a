-- Telephone numbers are kept as people write them, also two of them, and the
-- service derives the one that can be dialled.
ALTER TABLE customers DROP CONSTRAINT customers_phone_check;
ALTER TABLE customers ADD CONSTRAINT customers_phone_check CHECK (length(phone) <= 128);
ALTER TABLE customers ADD COLUMN phone_e164 text NOT NULL DEFAULT '' CHECK (length(phone_e164) <= 16);
COMMENT ON COLUMN customers.phone IS 'The telephone number of the contact, as it was written.';
COMMENT ON COLUMN customers.phone_e164 IS 'The first number of phone in E.164; empty where none can be dialled. Made by the service.';
COMMENT ON COLUMN customers.sort_name IS 'business_name as rpc::fold leaves it, for ordering; made by the service.';
COMMENT ON COLUMN customers.search_vector IS 'What the customer is found by, each lexeme after the id of its tenant; made by the service.';

-- A view has the columns that its table had when it was made.
CREATE OR REPLACE VIEW customer_list AS
    SELECT *
    FROM customers
    WHERE tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid;
