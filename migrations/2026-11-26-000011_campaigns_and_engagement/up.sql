-- What is sent to customers, what they were interested in, and what they bought.

-- Amounts are whole millionths of a unit of their currency: exact, and quick to add
-- up. 9,000,000,000,000 units fit.

CREATE TABLE campaigns (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 256),
    goal text NOT NULL DEFAULT '' CHECK (length(goal) <= 2048),
    channel text CHECK (channel IN (
        'EMAIL', 'SMS', 'WHATSAPP', 'PHONE', 'SOCIAL', 'ADS', 'WEB', 'IN_APP', 'POST', 'EVENT', 'OTHER'
    )),
    audience text NOT NULL DEFAULT '' CHECK (length(audience) <= 4096),
    status text NOT NULL CHECK (status IN ('DRAFT', 'SCHEDULED', 'ACTIVE', 'PAUSED', 'COMPLETED', 'ARCHIVED')),
    starts_at timestamptz,
    ends_at timestamptz,
    currency text CHECK (currency ~ '^[A-Z]{3}$'),
    budget_micros bigint CHECK (budget_micros >= 0),
    spent_micros bigint CHECK (spent_micros >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT campaigns_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT campaigns_schedule_check CHECK (status <> 'SCHEDULED' OR starts_at IS NOT NULL),
    CONSTRAINT campaigns_times_check CHECK (starts_at < ends_at),
    CONSTRAINT campaigns_money_check CHECK (
        (currency IS NULL) = (budget_micros IS NULL AND spent_micros IS NULL)
    )
);

CREATE INDEX campaigns_tenant_id_created_at_idx ON campaigns (tenant_id, created_at, id);
CREATE INDEX campaigns_tenant_id_status_idx ON campaigns (tenant_id, status, created_at, id);
CREATE INDEX campaigns_tenant_id_channel_idx ON campaigns (tenant_id, channel, created_at, id);

ALTER TABLE campaigns ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON campaigns TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON campaigns TO crm_app;

COMMENT ON TABLE campaigns IS 'What a tenant sends to many customers.';
COMMENT ON COLUMN campaigns.tenant_id IS 'The tenant.';
COMMENT ON COLUMN campaigns.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN campaigns.name IS 'What the campaign is called.';
COMMENT ON COLUMN campaigns.goal IS 'What it is for.';
COMMENT ON COLUMN campaigns.channel IS 'How it reaches its customers; null if unspecified.';
COMMENT ON COLUMN campaigns.audience IS 'Whom it is for, in words.';
COMMENT ON COLUMN campaigns.status IS 'Where it stands.';
COMMENT ON COLUMN campaigns.starts_at IS 'When it is to begin; null if unspecified.';
COMMENT ON COLUMN campaigns.ends_at IS 'When it is to end; null if unspecified.';
COMMENT ON COLUMN campaigns.currency IS 'The ISO 4217 code of its amounts; null when it has none.';
COMMENT ON COLUMN campaigns.budget_micros IS 'What it may cost, in millionths; null if unspecified.';
COMMENT ON COLUMN campaigns.spent_micros IS 'What it has cost beside its events, in millionths; null if unspecified.';
COMMENT ON COLUMN campaigns.created_at IS 'When the campaign was created.';
COMMENT ON COLUMN campaigns.updated_at IS 'When the campaign last changed; assignments and events do not change it.';
COMMENT ON COLUMN campaigns.revision IS 'Counts the changes of the campaign, from 1; the etag.';

CREATE TABLE campaign_customers (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    campaign_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    progress smallint NOT NULL DEFAULT 10 CHECK (progress BETWEEN 10 AND 100),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT campaign_customers_pkey PRIMARY KEY (tenant_id, campaign_id, customer_id),
    CONSTRAINT campaign_customers_campaign_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT campaign_customers_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id)
);

CREATE INDEX campaign_customers_progress_idx ON campaign_customers (tenant_id, campaign_id, progress, customer_id);
CREATE INDEX campaign_customers_customer_idx ON campaign_customers (tenant_id, customer_id, campaign_id);

ALTER TABLE campaign_customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON campaign_customers TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON campaign_customers TO crm_app;

COMMENT ON TABLE campaign_customers IS 'Whom campaigns are for, and how far they have come.';
COMMENT ON COLUMN campaign_customers.tenant_id IS 'The tenant.';
COMMENT ON COLUMN campaign_customers.campaign_id IS 'The campaign.';
COMMENT ON COLUMN campaign_customers.customer_id IS 'The customer.';
COMMENT ON COLUMN campaign_customers.progress IS 'How far the customer has come, a value of AssignmentStatus: the largest of all its events.';
COMMENT ON COLUMN campaign_customers.created_at IS 'When the customer was assigned.';
COMMENT ON COLUMN campaign_customers.updated_at IS 'When the progress last changed.';
COMMENT ON COLUMN campaign_customers.revision IS 'Counts the changes of the progress, from 1.';

-- Rows never change, so there is no updated_at and no revision.
CREATE TABLE campaign_events (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    campaign_id uuid NOT NULL,
    event_id text COLLATE "C" NOT NULL CHECK (length(event_id) BETWEEN 1 AND 256),
    customer_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN (
        'SENT', 'BOUNCED', 'DELIVERED', 'OPENED', 'CLICKED', 'REPLIED', 'CONVERTED', 'OPTED_OUT'
    )),
    occurred_at timestamptz NOT NULL,
    has_occurred_at boolean NOT NULL,
    conversation_id uuid,
    cost_micros bigint CHECK (cost_micros >= 0),
    bounce_kind text CHECK (bounce_kind IN ('HARD', 'SOFT', 'BLOCKED')),
    detail text NOT NULL DEFAULT '' CHECK (length(detail) <= 1024),
    url text NOT NULL DEFAULT '' CHECK (length(url) <= 2048),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT campaign_events_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT campaign_events_event_id_key UNIQUE (tenant_id, event_id),
    CONSTRAINT campaign_events_campaign_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT campaign_events_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT campaign_events_conversation_fkey FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id)
);

-- What is counted is in the index, so that a count reads no row.
CREATE INDEX campaign_events_campaign_idx ON campaign_events (tenant_id, campaign_id, occurred_at, id)
    INCLUDE (kind, customer_id, cost_micros);
CREATE INDEX campaign_events_tenant_id_occurred_at_idx ON campaign_events (tenant_id, occurred_at, id)
    INCLUDE (campaign_id, kind, customer_id, cost_micros);
CREATE INDEX campaign_events_customer_idx ON campaign_events (tenant_id, customer_id, occurred_at, id)
    INCLUDE (campaign_id, kind);
-- Who does not want to hear of a channel any more. Few events are in it.
CREATE INDEX campaign_events_opted_out_idx ON campaign_events (tenant_id, customer_id, campaign_id)
    WHERE kind = 'OPTED_OUT';

ALTER TABLE campaign_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON campaign_events TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT ON campaign_events TO crm_app;

COMMENT ON TABLE campaign_events IS 'What happened between campaigns and customers. Rows never change.';
COMMENT ON COLUMN campaign_events.tenant_id IS 'The tenant.';
COMMENT ON COLUMN campaign_events.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN campaign_events.campaign_id IS 'The campaign.';
COMMENT ON COLUMN campaign_events.event_id IS 'The client''s id, once in a tenant.';
COMMENT ON COLUMN campaign_events.customer_id IS 'The customer.';
COMMENT ON COLUMN campaign_events.kind IS 'What happened.';
COMMENT ON COLUMN campaign_events.occurred_at IS 'When it happened.';
COMMENT ON COLUMN campaign_events.has_occurred_at IS 'Whether the client said when; else it is when it was recorded.';
COMMENT ON COLUMN campaign_events.conversation_id IS 'The conversation that it led to or happened in; null if unspecified.';
COMMENT ON COLUMN campaign_events.cost_micros IS 'What it cost, in millionths of the campaign''s currency; null if unspecified.';
COMMENT ON COLUMN campaign_events.bounce_kind IS 'Why it bounced; null when unknown, or when it did not.';
COMMENT ON COLUMN campaign_events.detail IS 'What the sending system said.';
COMMENT ON COLUMN campaign_events.url IS 'The link that was followed, or the page of the conversion.';
COMMENT ON COLUMN campaign_events.created_at IS 'When it was recorded.';

-- Rows never change, so there is no updated_at and no revision.
CREATE TABLE interest_events (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    event_id text COLLATE "C" NOT NULL CHECK (length(event_id) BETWEEN 1 AND 256),
    customer_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN (
        'VIEWED', 'CLICKED', 'MENTIONED', 'ASKED', 'DOWNLOADED', 'SIGNED_UP', 'REQUESTED', 'ADDED_TO_CART', 'DECLINED',
        'CONVERTED', 'OTHER'
    )),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 256),
    subject_key text COLLATE "C" NOT NULL CHECK (length(subject_key) BETWEEN 1 AND 1024),
    weight double precision NOT NULL CHECK (weight BETWEEN -100 AND 100),
    value_currency text CHECK (value_currency ~ '^[A-Z]{3}$'),
    value_micros bigint CHECK (value_micros >= 0),
    source text NOT NULL DEFAULT '' CHECK (length(source) <= 128),
    occurred_at timestamptz NOT NULL,
    has_occurred_at boolean NOT NULL,
    conversation_id uuid,
    campaign_id uuid,
    outcome text CHECK (length(outcome) BETWEEN 1 AND 64),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT interest_events_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT interest_events_event_id_key UNIQUE (tenant_id, event_id),
    CONSTRAINT interest_events_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT interest_events_conversation_fkey FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id),
    CONSTRAINT interest_events_campaign_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT interest_events_conversation_check CHECK (outcome IS NULL OR conversation_id IS NOT NULL),
    CONSTRAINT interest_events_value_check CHECK ((value_currency IS NULL) = (value_micros IS NULL))
);

CREATE INDEX interest_events_tenant_id_occurred_at_idx ON interest_events (tenant_id, occurred_at, id)
    INCLUDE (kind, customer_id);
CREATE INDEX interest_events_customer_idx ON interest_events (tenant_id, customer_id, occurred_at, id);
CREATE INDEX interest_events_kind_idx ON interest_events (tenant_id, kind, occurred_at, id)
    INCLUDE (campaign_id, customer_id);
CREATE INDEX interest_events_subject_idx ON interest_events (tenant_id, subject_key, occurred_at, id);
CREATE INDEX interest_events_conversation_idx ON interest_events (tenant_id, conversation_id, occurred_at, id)
    WHERE conversation_id IS NOT NULL;
CREATE INDEX interest_events_campaign_idx ON interest_events (tenant_id, campaign_id, occurred_at, id)
    INCLUDE (kind, customer_id) WHERE campaign_id IS NOT NULL;

ALTER TABLE interest_events ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON interest_events TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT ON interest_events TO crm_app;

COMMENT ON TABLE interest_events IS 'Each time that a customer showed interest in something. Rows never change.';
COMMENT ON COLUMN interest_events.tenant_id IS 'The tenant.';
COMMENT ON COLUMN interest_events.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN interest_events.event_id IS 'The client''s id, once in a tenant.';
COMMENT ON COLUMN interest_events.customer_id IS 'The customer.';
COMMENT ON COLUMN interest_events.kind IS 'How interest was shown.';
COMMENT ON COLUMN interest_events.subject IS 'What it is in, in the client''s words.';
COMMENT ON COLUMN interest_events.subject_key IS 'The subject without case and needless white space; made by the service.';
COMMENT ON COLUMN interest_events.weight IS 'How much it counts when it happens.';
COMMENT ON COLUMN interest_events.value_currency IS 'The ISO 4217 code of the value; null when it has none.';
COMMENT ON COLUMN interest_events.value_micros IS 'What it is worth to the tenant, in millionths; null when unknown.';
COMMENT ON COLUMN interest_events.source IS 'The system that reported it, in the client''s words.';
COMMENT ON COLUMN interest_events.occurred_at IS 'When it happened.';
COMMENT ON COLUMN interest_events.has_occurred_at IS 'Whether the client said when; else it is when it was recorded.';
COMMENT ON COLUMN interest_events.conversation_id IS 'The conversation it happened in; null when in none.';
COMMENT ON COLUMN interest_events.campaign_id IS 'The campaign that it came of; null when of none.';
COMMENT ON COLUMN interest_events.outcome IS 'The outcome that the conversation got by it; null when it got none.';
COMMENT ON COLUMN interest_events.created_at IS 'When it was recorded.';

CREATE TABLE purchases (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    customer_id uuid NOT NULL,
    order_id text COLLATE "C" CHECK (length(order_id) BETWEEN 1 AND 256),
    payment_id text COLLATE "C" CHECK (length(payment_id) BETWEEN 1 AND 256),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_micros bigint NOT NULL CHECK (amount_micros >= 0),
    refunded_micros bigint NOT NULL DEFAULT 0 CHECK (refunded_micros >= 0),
    status text NOT NULL DEFAULT 'PAID' CHECK (status IN (
        'PENDING', 'PAID', 'PARTIALLY_REFUNDED', 'REFUNDED', 'FAILED', 'VOIDED'
    )),
    recorded_status text NOT NULL DEFAULT 'PAID' CHECK (recorded_status IN (
        'PENDING', 'PAID', 'PARTIALLY_REFUNDED', 'REFUNDED', 'FAILED', 'VOIDED'
    )),
    items jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(items) = 'array'),
    purchased_at timestamptz NOT NULL,
    has_purchased_at boolean NOT NULL DEFAULT true,
    conversation_id uuid,
    campaign_id uuid,
    outcome text CHECK (length(outcome) BETWEEN 1 AND 64),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    void_reason text NOT NULL DEFAULT '' CHECK (length(void_reason) <= 2048),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT purchases_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT purchases_order_id_key UNIQUE (tenant_id, order_id),
    CONSTRAINT purchases_customer_fkey FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
    CONSTRAINT purchases_conversation_fkey FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id),
    CONSTRAINT purchases_campaign_fkey FOREIGN KEY (tenant_id, campaign_id) REFERENCES campaigns (tenant_id, id),
    CONSTRAINT purchases_conversation_check CHECK (outcome IS NULL OR conversation_id IS NOT NULL),
    CONSTRAINT purchases_refund_check CHECK (refunded_micros <= amount_micros)
);

CREATE INDEX purchases_tenant_id_purchased_at_idx ON purchases (tenant_id, purchased_at, id)
    INCLUDE (customer_id, campaign_id, status, currency, amount_micros, refunded_micros);
CREATE INDEX purchases_customer_idx ON purchases (tenant_id, customer_id, purchased_at, id);
CREATE INDEX purchases_campaign_idx ON purchases (tenant_id, campaign_id, purchased_at, id)
    WHERE campaign_id IS NOT NULL;
CREATE INDEX purchases_conversation_idx ON purchases (tenant_id, conversation_id, purchased_at, id)
    WHERE conversation_id IS NOT NULL;
CREATE INDEX purchases_status_idx ON purchases (tenant_id, status, purchased_at, id);
CREATE INDEX purchases_currency_idx ON purchases (tenant_id, currency, purchased_at, id);

ALTER TABLE purchases ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON purchases TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON purchases TO crm_app;

COMMENT ON TABLE purchases IS 'What customers bought.';
COMMENT ON COLUMN purchases.tenant_id IS 'The tenant.';
COMMENT ON COLUMN purchases.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN purchases.customer_id IS 'The customer.';
COMMENT ON COLUMN purchases.order_id IS 'The order''s id in the tenant''s shop, once in a tenant; null if unspecified.';
COMMENT ON COLUMN purchases.payment_id IS 'The payment''s id at its provider; null when unknown.';
COMMENT ON COLUMN purchases.currency IS 'The ISO 4217 code of its amounts.';
COMMENT ON COLUMN purchases.amount_micros IS 'The price, in millionths.';
COMMENT ON COLUMN purchases.refunded_micros IS 'What was paid back of it, in millionths: the sum of its refunds.';
COMMENT ON COLUMN purchases.status IS 'Whether it is paid, refunded, pending, failed or voided.';
COMMENT ON COLUMN purchases.recorded_status IS 'The status with which it was recorded; a purchase that is sent again is held against it.';
COMMENT ON COLUMN purchases.items IS 'What was bought, in order: sku, name, quantity, unit_price_micros.';
COMMENT ON COLUMN purchases.purchased_at IS 'When it was made.';
COMMENT ON COLUMN purchases.has_purchased_at IS 'Whether the client said when; else it is when it was recorded.';
COMMENT ON COLUMN purchases.conversation_id IS 'The conversation that it came of; null when of none.';
COMMENT ON COLUMN purchases.campaign_id IS 'The campaign that it came of; null when of none.';
COMMENT ON COLUMN purchases.outcome IS 'The outcome that the conversation got by it; null when it got none.';
COMMENT ON COLUMN purchases.metadata IS 'The client''s own JSON object.';
COMMENT ON COLUMN purchases.void_reason IS 'Why it was voided, in the client''s words.';
COMMENT ON COLUMN purchases.created_at IS 'When it was recorded.';
COMMENT ON COLUMN purchases.updated_at IS 'When it was recorded, settled, voided or last refunded.';
COMMENT ON COLUMN purchases.revision IS 'Counts the changes of the purchase, from 1; the etag.';

-- Rows never change, so there is no updated_at and no revision.
CREATE TABLE purchase_refunds (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    id uuid NOT NULL,
    purchase_id uuid NOT NULL,
    refund_id text COLLATE "C" CHECK (length(refund_id) BETWEEN 1 AND 256),
    amount_micros bigint NOT NULL CHECK (amount_micros > 0),
    reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 2048),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT purchase_refunds_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT purchase_refunds_refund_id_key UNIQUE (tenant_id, purchase_id, refund_id),
    CONSTRAINT purchase_refunds_purchase_fkey FOREIGN KEY (tenant_id, purchase_id) REFERENCES purchases (tenant_id, id)
);

CREATE INDEX purchase_refunds_purchase_idx ON purchase_refunds (tenant_id, purchase_id, created_at, id);

ALTER TABLE purchase_refunds ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON purchase_refunds TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT ON purchase_refunds TO crm_app;

COMMENT ON TABLE purchase_refunds IS 'What was paid back of purchases. Rows never change.';
COMMENT ON COLUMN purchase_refunds.tenant_id IS 'The tenant.';
COMMENT ON COLUMN purchase_refunds.id IS 'UUID version 7, made by the service.';
COMMENT ON COLUMN purchase_refunds.purchase_id IS 'The purchase.';
COMMENT ON COLUMN purchase_refunds.refund_id IS 'The refund''s id at the payment provider, once in a purchase; null when unknown.';
COMMENT ON COLUMN purchase_refunds.amount_micros IS 'What was paid back, in millionths of the purchase''s currency.';
COMMENT ON COLUMN purchase_refunds.reason IS 'Why, in the client''s words.';
COMMENT ON COLUMN purchase_refunds.created_at IS 'When it was recorded.';

-- How many customers there are, so that no statement has to count them all. Each customer
-- counts in one of a few shards, so that those who change different customers seldom
-- wait for each other.
CREATE TABLE customer_counts (
    tenant_id uuid NOT NULL DEFAULT current_tenant(),
    dimension text COLLATE "C" NOT NULL CHECK (dimension IN ('STATUS', 'INDUSTRY_CATEGORY', 'SOURCE')),
    value text COLLATE "C" NOT NULL CHECK (length(value) <= 128),
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
    customers bigint NOT NULL CHECK (customers >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT customer_counts_pkey PRIMARY KEY (tenant_id, dimension, value, shard)
) WITH (fillfactor = 70);

ALTER TABLE customer_counts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON customer_counts TO crm_app
    USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)
    WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE ON customer_counts TO crm_app;

COMMENT ON TABLE customer_counts IS 'How many customers that are not deleted have a value, updated by each statement that changes customers.';
COMMENT ON COLUMN customer_counts.tenant_id IS 'The tenant.';
COMMENT ON COLUMN customer_counts.dimension IS 'The column of customers, in capitals.';
COMMENT ON COLUMN customer_counts.value IS 'The value in it.';
COMMENT ON COLUMN customer_counts.shard IS 'The last four bits of the ids of the customers that are counted here.';
COMMENT ON COLUMN customer_counts.customers IS 'How many there are.';
COMMENT ON COLUMN customer_counts.created_at IS 'When the first was counted.';
COMMENT ON COLUMN customer_counts.updated_at IS 'When the number last changed.';
COMMENT ON COLUMN customer_counts.revision IS 'Counts the changes of the number, from 1.';

INSERT INTO customer_counts (tenant_id, dimension, value, shard, customers)
SELECT c.tenant_id, d.dimension, d.value, get_byte(uuid_send(c.id), 15) & 15, count(*)
FROM customers c
CROSS JOIN LATERAL (VALUES
    ('STATUS', c.status), ('INDUSTRY_CATEGORY', c.industry_category), ('SOURCE', c.source)
) AS d (dimension, value)
WHERE c.deleted_at IS NULL
GROUP BY 1, 2, 3, 4;

-- The lists behind the numbers of a dashboard.
CREATE INDEX customers_tenant_id_source_idx ON customers (tenant_id, source, created_at, id);
CREATE INDEX conversations_tenant_id_modality_idx ON conversations (tenant_id, modality, started_at, id);
