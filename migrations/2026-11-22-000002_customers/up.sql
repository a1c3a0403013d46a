CREATE TABLE customers (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    business_name text NOT NULL DEFAULT '' CHECK (length(business_name) <= 256),
    sort_name text COLLATE "C" NOT NULL,
    slug text COLLATE "C" NOT NULL CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    contact_name text NOT NULL DEFAULT '' CHECK (length(contact_name) <= 256),
    email text NOT NULL DEFAULT '' CHECK (length(email) <= 254),
    phone text NOT NULL DEFAULT '' CHECK (length(phone) <= 40),
    website text NOT NULL DEFAULT '' CHECK (length(website) <= 2048),
    address jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(address) = 'object'),
    industry_category text NOT NULL DEFAULT '' CHECK (length(industry_category) <= 128),
    size text NOT NULL DEFAULT '' CHECK (length(size) <= 64),
    status text NOT NULL CHECK (status IN ('LEAD', 'PROSPECT', 'ACTIVE', 'INACTIVE', 'CHURNED', 'BLOCKED')),
    source text NOT NULL DEFAULT '' CHECK (length(source) <= 128),
    owner text NOT NULL DEFAULT '' CHECK (length(owner) <= 256),
    tags text[] NOT NULL DEFAULT '{}' CHECK (cardinality(tags) <= 50 AND array_position(tags, NULL) IS NULL),
    external_ids jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(external_ids) = 'array'),
    business_context jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(business_context) = 'object'),
    brand_voice jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(brand_voice) = 'object'),
    content_preferences jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(content_preferences) = 'object'),
    custom_attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(custom_attributes) = 'object'),
    search_vector tsvector NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT customers_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT customers_tenant_id_slug_key UNIQUE (tenant_id, slug)
);

-- One index for each order of the list, and one for each filter that can leave
-- few of many customers, in the list's default order.
CREATE INDEX customers_tenant_id_created_at_idx ON customers (tenant_id, created_at, id);
CREATE INDEX customers_tenant_id_updated_at_idx ON customers (tenant_id, updated_at, id);
CREATE INDEX customers_tenant_id_sort_name_idx ON customers (tenant_id, sort_name, id);
CREATE INDEX customers_tenant_id_status_idx ON customers (tenant_id, status, created_at, id);
CREATE INDEX customers_tenant_id_industry_category_idx ON customers (tenant_id, industry_category, created_at, id);
CREATE INDEX customers_tenant_id_owner_idx ON customers (tenant_id, owner, created_at, id);
-- Every lexeme begins with a mark of its tenant, which makes this an index by
-- tenant without an extension. No pending list: a search must not get slower
-- between two vacuums.
CREATE INDEX customers_search_vector_idx ON customers USING gin (search_vector) WITH (fastupdate = off);

ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON customers TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON customers TO crm_app;

-- Under a policy, @@ may not use an index: it could leak what it sees in an
-- error. The view states the tenant itself and reads as its owner, so that the
-- planner is free to start from the index on words where they are rare, and to
-- walk a list's order where they are common.
CREATE VIEW customer_list AS
    SELECT *
    FROM customers
    WHERE tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid;
GRANT SELECT ON customer_list TO crm_app;

COMMENT ON VIEW customer_list IS 'The customers of the transaction''s tenant, with the index on their words within reach.';
COMMENT ON TABLE customers IS 'The businesses that a tenant sells to.';
COMMENT ON COLUMN customers.tenant_id IS 'The tenant.';
COMMENT ON COLUMN customers.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN customers.business_name IS 'The name of the business; empty for a visitor whose name is not known.';
COMMENT ON COLUMN customers.sort_name IS 'business_name without case and accents, for ordering; made by the service.';
COMMENT ON COLUMN customers.slug IS 'Names the customer in addresses; stays reserved while the customer is deleted.';
COMMENT ON COLUMN customers.contact_name IS 'The person to talk to.';
COMMENT ON COLUMN customers.email IS 'The e-mail address of the contact.';
COMMENT ON COLUMN customers.phone IS 'The telephone number of the contact.';
COMMENT ON COLUMN customers.website IS 'The web site, an absolute URI.';
COMMENT ON COLUMN customers.address IS 'The postal address: address, city, region, postal_code, country_code.';
COMMENT ON COLUMN customers.industry_category IS 'The trade, in the tenant''s words.';
COMMENT ON COLUMN customers.size IS 'How large the business is, in the tenant''s words.';
COMMENT ON COLUMN customers.status IS 'Where the customer stands.';
COMMENT ON COLUMN customers.source IS 'Where the customer came from, in the tenant''s words.';
COMMENT ON COLUMN customers.owner IS 'Who is responsible for the customer.';
COMMENT ON COLUMN customers.tags IS 'Free labels.';
COMMENT ON COLUMN customers.external_ids IS 'The customer''s ids in other systems of the tenant: source, id. customer_external_ids has those of customers that are not deleted.';
COMMENT ON COLUMN customers.business_context IS 'What is known about the business: description, products_and_services, target_audience, value_proposition, competitors, goals, challenges.';
COMMENT ON COLUMN customers.brand_voice IS 'How the business speaks: tone, style, vocabulary, dos, donts, sample_texts.';
COMMENT ON COLUMN customers.content_preferences IS 'What the customer wants to be sent: topics, formats, preferred_channels, languages, frequency, avoid.';
COMMENT ON COLUMN customers.custom_attributes IS 'The tenant''s own fields.';
COMMENT ON COLUMN customers.search_vector IS 'The words to find the customer by, each after the mark of its tenant; made by the service.';
COMMENT ON COLUMN customers.deleted_at IS 'When the customer was deleted; null while it is not.';
COMMENT ON COLUMN customers.created_at IS 'When the customer was created.';
COMMENT ON COLUMN customers.updated_at IS 'When the customer last changed.';
COMMENT ON COLUMN customers.revision IS 'Counts the changes of the customer, from 1; the etag.';

-- What makes an id of another system unique in a tenant, and finds its customer. The row of the customer has its ids
-- too, so that reading a customer stays one row.
CREATE TABLE customer_external_ids (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    source text COLLATE "C" NOT NULL CHECK (length(source) BETWEEN 1 AND 64),
    external_id text COLLATE "C" NOT NULL CHECK (length(external_id) BETWEEN 1 AND 256),
    customer_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT customer_external_ids_pkey PRIMARY KEY (tenant_id, source, external_id),
    CONSTRAINT customer_external_ids_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id)
);

CREATE INDEX customer_external_ids_customer_idx ON customer_external_ids (tenant_id, customer_id);

ALTER TABLE customer_external_ids ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON customer_external_ids TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, DELETE ON customer_external_ids TO crm_app;

COMMENT ON TABLE customer_external_ids IS 'The ids that customers have in other systems; a deleted customer holds none.';
COMMENT ON COLUMN customer_external_ids.tenant_id IS 'The tenant.';
COMMENT ON COLUMN customer_external_ids.source IS 'The other system, in the tenant''s words.';
COMMENT ON COLUMN customer_external_ids.external_id IS 'The id there.';
COMMENT ON COLUMN customer_external_ids.customer_id IS 'The customer.';
COMMENT ON COLUMN customer_external_ids.created_at IS 'When the row was written.';
COMMENT ON COLUMN customer_external_ids.updated_at IS 'The same: rows are written anew, and do not change.';
COMMENT ON COLUMN customer_external_ids.revision IS 'Always 1: rows do not change.';
