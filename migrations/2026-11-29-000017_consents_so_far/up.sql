-- What the events of before say. Their channel is that of the campaign now, since no other is known.
-- The last two statements may be run again.
ALTER TABLE campaign_events VALIDATE CONSTRAINT campaign_events_kind_check;
ALTER TABLE campaign_events VALIDATE CONSTRAINT campaign_events_channel_check;

UPDATE campaign_events AS e SET channel = k.channel
FROM campaigns AS k
WHERE k.tenant_id = e.tenant_id AND k.id = e.campaign_id AND k.channel IS NOT NULL AND e.channel IS NULL;

INSERT INTO customer_consents (tenant_id, customer_id, channel, state, occurred_at, campaign_id, campaign_event_id, event_id)
SELECT DISTINCT ON (e.tenant_id, e.customer_id, c.channel) e.tenant_id, e.customer_id, c.channel, e.kind,
    e.occurred_at, e.campaign_id, e.id, e.event_id
FROM campaign_events AS e CROSS JOIN LATERAL (SELECT coalesce(e.channel, 'OTHER') COLLATE "C" AS channel) AS c
WHERE e.kind IN ('OPTED_IN', 'OPTED_OUT', 'SPAM_REPORTED')
ORDER BY e.tenant_id, e.customer_id, c.channel, e.occurred_at DESC, e.kind COLLATE "C" DESC, e.campaign_id DESC,
    e.event_id DESC
ON CONFLICT (tenant_id, customer_id, channel) DO UPDATE SET state = excluded.state, occurred_at = excluded.occurred_at,
    campaign_id = excluded.campaign_id, campaign_event_id = excluded.campaign_event_id, event_id = excluded.event_id,
    updated_at = now(), revision = customer_consents.revision + 1
WHERE (excluded.occurred_at, excluded.state, excluded.campaign_id, excluded.event_id)
    > (customer_consents.occurred_at, customer_consents.state, customer_consents.campaign_id, customer_consents.event_id);
