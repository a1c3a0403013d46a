-- Texts are found and recognised by one folding, which the service does. What an
-- earlier version made of them is made anew: by the service when it starts, tenant
-- by tenant, since only it can fold a text.
CREATE TABLE reindexing (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT reindexing_pkey PRIMARY KEY (tenant_id)
);
ALTER TABLE reindexing ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON reindexing TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, DELETE ON reindexing TO crm_app;
COMMENT ON TABLE reindexing IS 'Tenants with rows whose words and keys are yet to be made anew. Empty but after a migration that adds some.';
COMMENT ON COLUMN reindexing.tenant_id IS 'The tenant.';
COMMENT ON COLUMN reindexing.created_at IS 'When that became necessary.';
COMMENT ON COLUMN reindexing.updated_at IS 'The same as created_at.';
COMMENT ON COLUMN reindexing.revision IS 'Always 1.';

INSERT INTO reindexing (tenant_id) SELECT DISTINCT tenant_id FROM customers;

-- Events never change, and what is left to fold of a key, SQL can.
UPDATE interest_events AS e SET subject_key = f.key
FROM (
    SELECT i.tenant_id, i.id, normalize(replace(replace(replace(translate(
        regexp_replace(normalize(i.subject_key, NFKD), '[\u0300-\u036f\u00ad\u200b-\u200f\u2060-\u206f\ufeff]', '', 'g'),
        'łøđðħŧı‐‑‒–—―−‘’ʼ′', 'loddhti-------'''''''''), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'), NFC) AS key
    FROM interest_events AS i
    WHERE octet_length(i.subject_key) <= 768
) AS f
WHERE f.tenant_id = e.tenant_id AND f.id = e.id AND f.key <> e.subject_key AND f.key <> '';
COMMENT ON COLUMN interest_events.subject_key IS 'The subject as rpc::fold leaves it; made by the service.';
