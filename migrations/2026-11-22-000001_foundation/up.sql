-- What every tenant table stands on: the role that serves requests, the tenant
-- of a transaction, the keys of the service, and the memory of request ids.

-- Roles belong to the whole cluster, so another database may have made it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'crm_app') THEN
        CREATE ROLE crm_app NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT;
        COMMENT ON ROLE crm_app IS 'Serves every request of the CRM: owns nothing, and is subject to every policy.';
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- made by another database at the same moment
END
$$;

-- From Postgres 16 on, who creates a role is a member of it without the right to
-- become it.
DO $$
BEGIN
    IF NOT (
        CASE WHEN current_setting('server_version_num')::int >= 160000
            THEN pg_has_role(current_user, 'crm_app', 'SET')
            ELSE pg_has_role(current_user, 'crm_app', 'MEMBER')
        END
    ) THEN
        EXECUTE format('GRANT crm_app TO %I', current_user);
    END IF;
END
$$;

CREATE FUNCTION current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.tenant_id', true), '')::uuid;
COMMENT ON FUNCTION current_tenant() IS 'The tenant of the transaction, from SET LOCAL app.tenant_id; null where none is set.';

CREATE TABLE service_keys (
    name text PRIMARY KEY,
    value bytea NOT NULL CHECK (octet_length(value) >= 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE service_keys IS 'Secrets that all replicas of the service share. Not for tenants: crm_app cannot read it.';
COMMENT ON COLUMN service_keys.name IS 'What the key is for.';
COMMENT ON COLUMN service_keys.value IS 'The key: at least 32 random bytes.';
COMMENT ON COLUMN service_keys.created_at IS 'When the key was made.';

-- Two version 4 UUIDs have 244 bits from the server's strong random source.
INSERT INTO service_keys (name, value)
VALUES ('page_token', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    method text NOT NULL CHECK (length(method) BETWEEN 1 AND 128),
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    response bytea,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id, method, request_id)
);
CREATE INDEX idempotency_keys_tenant_id_expires_at_idx ON idempotency_keys (tenant_id, expires_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON idempotency_keys TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO crm_app;
COMMENT ON TABLE idempotency_keys IS 'What a call with a request_id answered, so that its retry answers the same.';
COMMENT ON COLUMN idempotency_keys.tenant_id IS 'The tenant.';
COMMENT ON COLUMN idempotency_keys.method IS 'The RPC, e.g. crm.v1.CustomerService/CreateCustomer.';
COMMENT ON COLUMN idempotency_keys.request_id IS 'The UUID that the client made for the request.';
COMMENT ON COLUMN idempotency_keys.fingerprint IS 'SHA-256 of the encoded request; another one means that the id was used again.';
COMMENT ON COLUMN idempotency_keys.response IS 'The encoded response; null only inside the transaction that makes it.';
COMMENT ON COLUMN idempotency_keys.expires_at IS 'When the answer may be forgotten.';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When the row was made.';
COMMENT ON COLUMN idempotency_keys.updated_at IS 'When the row last changed.';
COMMENT ON COLUMN idempotency_keys.revision IS 'Counts the changes of the row, from 1.';

GRANT USAGE ON SCHEMA public TO crm_app;
