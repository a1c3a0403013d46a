-- Keys that agents and scripts call with.

-- Of the service and not of a tenant: a key is looked up before it is known for
-- which tenant it may call. crm_app cannot read it.
CREATE TABLE api_keys (
    id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    all_tenants boolean NOT NULL,
    tenants uuid[] NOT NULL CHECK (array_position(tenants, NULL) IS NULL),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ '{READ,WRITE,ADMIN}'),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_secret_hash_key UNIQUE (secret_hash),
    CONSTRAINT api_keys_granted_check CHECK (all_tenants = (cardinality(tenants) = 0))
);

COMMENT ON TABLE api_keys IS 'Keys that agents and scripts call with. Not for tenants: crm_app cannot read it.';
COMMENT ON COLUMN api_keys.id IS 'UUID version 7, made by the service; the key''s name in logs.';
COMMENT ON COLUMN api_keys.name IS 'Whose key it is, in the words of the operator.';
COMMENT ON COLUMN api_keys.secret_hash IS 'SHA-256 of the secret. It has 256 random bits, so that neither salt nor stretching would add anything.';
COMMENT ON COLUMN api_keys.all_tenants IS 'Whether the key may be used for every tenant, those to come included.';
COMMENT ON COLUMN api_keys.tenants IS 'The tenants that the key may be used for; none with all_tenants.';
COMMENT ON COLUMN api_keys.scopes IS 'What the key may be used for: words of Scope.';
COMMENT ON COLUMN api_keys.expires_at IS 'When the key ends; null where it does not.';
COMMENT ON COLUMN api_keys.last_used_at IS 'When the key was last used, to about a minute; null where it was not.';
COMMENT ON COLUMN api_keys.revoked_at IS 'When the key was revoked; null where it was not.';
COMMENT ON COLUMN api_keys.created_at IS 'When the key was made.';
COMMENT ON COLUMN api_keys.updated_at IS 'When the row last changed, use apart.';
COMMENT ON COLUMN api_keys.revision IS 'Counts the changes of the row, use apart, from 1.';
