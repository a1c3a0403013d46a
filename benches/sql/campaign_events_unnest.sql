-- A hundred events of one campaign in a transaction: what a writer can do that has its batches ready, and that
-- neither looks for what was recorded before nor says how far a customer has come.
\set number :number + 1
\set first random(1, @count@ - 100)
\startpipeline
BEGIN;
SET LOCAL ROLE crm_app;
SET LOCAL app.tenant_id = '@tenant@';
WITH named AS (
    SELECT :run || lpad(to_hex((:client_id::bigint << 32) | :number::bigint), 14, '0') AS key
)
INSERT INTO campaign_events
    (tenant_id, id, campaign_id, event_id, customer_id, kind, occurred_at, has_occurred_at, created_at)
SELECT '@tenant@', (n.key || e.suffix)::uuid, '@campaign@', n.key || e.suffix,
    ('@prefix@' || lpad(to_hex(:first::bigint + e.place), 16, '0'))::uuid, 'OPENED', now(), true, now()
FROM unnest(:suffixes::text[], :numbers::bigint[]) AS e (suffix, place)
CROSS JOIN named AS n;
COMMIT;
\endpipeline
