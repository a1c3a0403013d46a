-- Who did what, to what, when, and what came of it.

-- Rows never change, so there is no updated_at and no revision, and crm_app may
-- only add and read them. Nothing refers to what they are about: an event outlives it.
CREATE TABLE audit_events (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    principal text NOT NULL CHECK (length(principal) BETWEEN 1 AND 256),
    method text NOT NULL CHECK (length(method) BETWEEN 1 AND 128),
    resource_type text NOT NULL CHECK (length(resource_type) BETWEEN 1 AND 64),
    resource_id uuid,
    outcome text NOT NULL CHECK (outcome IN ('SUCCEEDED', 'FAILED', 'UNKNOWN')),
    code integer NOT NULL CHECK (code BETWEEN 0 AND 16),
    reason text CHECK (length(reason) BETWEEN 1 AND 64),
    call_id uuid,
    request_id uuid,
    first_sequence bigint,
    last_sequence bigint,
    covers_until timestamptz,
    CONSTRAINT audit_events_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT audit_events_answer_check CHECK ((outcome = 'SUCCEEDED') = (code = 0 AND reason IS NULL)),
    CONSTRAINT audit_events_messages_check CHECK (
        num_nulls(first_sequence, last_sequence, covers_until) IN (0, 3) AND first_sequence <= last_sequence
    )
);

-- Ids are in the order of time, so that every index ends with them.
CREATE INDEX audit_events_tenant_id_principal_idx ON audit_events (tenant_id, principal, id);
CREATE INDEX audit_events_tenant_id_method_idx ON audit_events (tenant_id, method, id);
CREATE INDEX audit_events_tenant_id_resource_id_idx ON audit_events (tenant_id, resource_id, id);
-- Those that succeeded are nearly all.
CREATE INDEX audit_events_tenant_id_outcome_idx ON audit_events (tenant_id, outcome, id)
    WHERE outcome <> 'SUCCEEDED';

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON audit_events TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT ON audit_events TO crm_app;

COMMENT ON TABLE audit_events IS 'Who did what, to what, when, and what came of it. Rows never change; the service deletes them when their retention is over.';
COMMENT ON COLUMN audit_events.tenant_id IS 'The tenant.';
COMMENT ON COLUMN audit_events.id IS 'UUID version 7, made by the service of created_at.';
COMMENT ON COLUMN audit_events.created_at IS 'When it was done.';
COMMENT ON COLUMN audit_events.principal IS 'Who did it, as the credential says.';
COMMENT ON COLUMN audit_events.method IS 'The RPC, e.g. crm.v1.CustomerService/CreateCustomer, or what the service did by itself.';
COMMENT ON COLUMN audit_events.resource_type IS 'The kind of the changed resource, a value of ResourceType.';
COMMENT ON COLUMN audit_events.resource_id IS 'That thing; null when the call did not name it by a UUID, or failed to make it.';
COMMENT ON COLUMN audit_events.outcome IS 'What came of it.';
COMMENT ON COLUMN audit_events.code IS 'The status code of the answer, a value of google.rpc.Code.';
COMMENT ON COLUMN audit_events.reason IS 'Why it failed, a value of ErrorReason; null when it succeeded.';
COMMENT ON COLUMN audit_events.call_id IS 'The id that the service gave the call; null for what the service did by itself.';
COMMENT ON COLUMN audit_events.request_id IS 'The UUID that the client made for the call; null when it made none.';
COMMENT ON COLUMN audit_events.first_sequence IS 'The smallest sequence of the messages that were stored with the event; null for all but messages.';
COMMENT ON COLUMN audit_events.last_sequence IS 'The largest of them.';
COMMENT ON COLUMN audit_events.covers_until IS 'When the event no longer stands for what else the principal writes to the conversation.';
