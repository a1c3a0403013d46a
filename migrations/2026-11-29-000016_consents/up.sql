-- What customers said about being contacted, by channel; and the kinds of events that say it, or that tell
-- what became of something that was sent.

-- NOT VALID: the rows that are there have one of the kinds that were allowed before, and reading all of them
-- would hold the table. What is added is checked. The next migration validates it.
ALTER TABLE campaign_events
    ADD COLUMN channel text,
    DROP CONSTRAINT campaign_events_kind_check;
ALTER TABLE campaign_events
    ADD CONSTRAINT campaign_events_kind_check CHECK (kind IN (
        'SENT', 'BOUNCED', 'DELIVERED', 'OPENED', 'CLICKED', 'REPLIED', 'CONVERTED', 'OPTED_OUT', 'OPTED_IN',
        'SPAM_REPORTED', 'DEFERRED', 'DROPPED'
    )) NOT VALID;
ALTER TABLE campaign_events
    ADD CONSTRAINT campaign_events_channel_check CHECK (channel IN (
        'EMAIL', 'SMS', 'WHATSAPP', 'PHONE', 'SOCIAL', 'ADS', 'WEB', 'IN_APP', 'POST', 'EVENT', 'OTHER'
    )) NOT VALID;

COMMENT ON COLUMN campaign_events.channel IS 'How it reached the customer: what the client said, or else the campaign''s channel when the event was recorded; null when it had none.';

CREATE TABLE customer_consents (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    customer_id uuid NOT NULL,
    channel text COLLATE "C" NOT NULL CHECK (channel IN (
        'EMAIL', 'SMS', 'WHATSAPP', 'PHONE', 'SOCIAL', 'ADS', 'WEB', 'IN_APP', 'POST', 'EVENT', 'OTHER'
    )),
    -- Of two at the same time the larger one holds, so the order of the words is part of what they mean.
    state text COLLATE "C" NOT NULL CHECK (state IN ('OPTED_IN', 'OPTED_OUT', 'SPAM_REPORTED')),
    occurred_at timestamptz NOT NULL,
    campaign_id uuid NOT NULL,
    campaign_event_id uuid NOT NULL,
    event_id text COLLATE "C" NOT NULL CHECK (length(event_id) BETWEEN 1 AND 256),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT customer_consents_pkey PRIMARY KEY (tenant_id, customer_id, channel),
    CONSTRAINT customer_consents_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT customer_consents_campaign_event_fkey FOREIGN KEY (tenant_id, campaign_event_id) REFERENCES campaign_events (tenant_id, id)
);

CREATE INDEX customer_consents_channel_idx ON customer_consents (tenant_id, channel, state, customer_id);

ALTER TABLE customer_consents ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON customer_consents TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON customer_consents TO crm_app;

COMMENT ON TABLE customer_consents IS 'What customers last said about being contacted on a channel, kept by the events that tell it.';
COMMENT ON COLUMN customer_consents.tenant_id IS 'The tenant.';
COMMENT ON COLUMN customer_consents.customer_id IS 'The customer.';
COMMENT ON COLUMN customer_consents.channel IS 'The channel of the event that decided; OTHER where that has none.';
COMMENT ON COLUMN customer_consents.state IS 'What the customer said: the kind of the event that decided.';
COMMENT ON COLUMN customer_consents.occurred_at IS 'When that event happened.';
COMMENT ON COLUMN customer_consents.campaign_id IS 'Its campaign.';
COMMENT ON COLUMN customer_consents.campaign_event_id IS 'The event.';
COMMENT ON COLUMN customer_consents.event_id IS 'The client''s id of it, which decides between events of one campaign at the same time.';
COMMENT ON COLUMN customer_consents.created_at IS 'When the customer first said something about the channel.';
COMMENT ON COLUMN customer_consents.updated_at IS 'When another event last decided.';
COMMENT ON COLUMN customer_consents.revision IS 'Counts the events that decided, from 1.';

-- Consents have what it was for.
DROP INDEX campaign_events_opted_out_idx;
