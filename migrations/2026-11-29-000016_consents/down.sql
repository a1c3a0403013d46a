DROP TABLE customer_consents;
CREATE INDEX campaign_events_opted_out_idx ON campaign_events (tenant_id, customer_id, campaign_id)
    WHERE kind = 'OPTED_OUT';
DELETE FROM campaign_events WHERE kind IN ('OPTED_IN', 'SPAM_REPORTED', 'DEFERRED', 'DROPPED');
ALTER TABLE campaign_events
    DROP CONSTRAINT campaign_events_channel_check,
    DROP CONSTRAINT campaign_events_kind_check,
    DROP COLUMN channel;
ALTER TABLE campaign_events
    ADD CONSTRAINT campaign_events_kind_check CHECK (kind IN (
        'SENT', 'BOUNCED', 'DELIVERED', 'OPENED', 'CLICKED', 'REPLIED', 'CONVERTED', 'OPTED_OUT'
    ));
