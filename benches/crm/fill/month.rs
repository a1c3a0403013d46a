//! Events of a tenant in some months, evenly spread.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tonic::transport::Channel;
use uuid::Uuid;

use super::{Ids, Sql, conversation, copy, message, numbers};
use crate::Result;
use crate::scenarios::analyse;

/// The messages of each conversation.
const MESSAGES: u64 = 10;

/// The parameters of a tenant's months.
pub(crate) struct Month {
    pub(crate) tenant: Uuid,
    /// The customer whose rows are copied.
    pub(crate) first: Uuid,
    /// The customers that the rows belong to.
    pub(crate) customers: Ids,
    pub(crate) campaign: Uuid,
    /// The end of the months.
    pub(crate) until: DateTime<Utc>,
    /// The length of the months.
    pub(crate) span: Duration,
    /// The length of the time, with the same end, in which the customers were created.
    pub(crate) arrivals: Duration,
}

impl Month {
    /// Adds `count` conversations with ten messages each, as many campaign events, half as many interest events, and
    /// a purchase for every ten.
    pub(crate) async fn fill(&self, sql: &Sql, channel: &Channel, count: u64) -> Result<()> {
        self.customers(sql).await?;
        let ids = self.conversations(sql, channel, count).await?;
        self.messages(sql, channel, ids).await?;
        let (tenant, campaign) = (self.tenant, self.campaign);
        sql.batch_execute(&format!(
            "INSERT INTO campaign_events
                 (tenant_id, id, campaign_id, event_id, customer_id, kind, occurred_at, has_occurred_at)
             SELECT '{tenant}', {id}, '{campaign}', n::text, {customer},
                 (ARRAY['SENT', 'DELIVERED', 'OPENED', 'CLICKED', 'CONVERTED'])[n % 5 + 1], {time}, true
             FROM generate_series(1, {count}) AS n ORDER BY n",
            id = Ids::new(count).sql(),
            customer = self.customer(6_007),
            time = self.time(count),
        ))
        .await?;
        let interests = count / 2;
        sql.batch_execute(&format!(
            "INSERT INTO interest_events
                 (tenant_id, id, event_id, customer_id, kind, subject, subject_key, weight, occurred_at, has_occurred_at)
             SELECT '{tenant}', {id}, n::text, {customer}, (ARRAY['ASKED', 'VIEWED'])[n % 2 + 1], 'bread', 'bread', 1,
                 {time}, true
             FROM generate_series(1, {interests}) AS n ORDER BY n",
            id = Ids::new(interests).sql(),
            customer = self.customer(5_003),
            time = self.time(interests),
        ))
        .await?;
        let purchases = count / 10;
        sql.batch_execute(&format!(
            "INSERT INTO purchases (tenant_id, id, customer_id, currency, amount_micros, purchased_at, campaign_id)
             SELECT '{tenant}', {id}, {customer}, 'EUR', 12500000, {time}, '{campaign}'
             FROM generate_series(1, {purchases}) AS n ORDER BY n",
            id = Ids::new(purchases).sql(),
            customer = self.customer(9_001),
            time = self.time(purchases),
        ))
        .await?;
        Ok(())
    }

    async fn conversations(&self, sql: &Sql, channel: &Channel, count: u64) -> Result<Ids> {
        let first = conversation(channel, self.tenant, self.first).await?;
        analyse(channel, self.tenant, first).await?;
        let ids = Ids::new(count);
        let start = self.time(count);
        let analysis = "m.latest_analysis || jsonb_build_object(\
             'topics', jsonb_build_array('topic ' || n % 40, 'subject ' || n / 40 % 60), \
             'questions', jsonb_build_array('How about ' || n % 300 || '?'), \
             'sentiment', jsonb_build_object('label', (ARRAY['POSITIVE', 'NEUTRAL', 'NEGATIVE'])[n % 3 + 1]), \
             'objections', CASE WHEN n % 3 = 0 THEN jsonb_build_array(jsonb_build_object(\
                 'kind', (ARRAY['PRICE', 'TIMING'])[n % 2 + 1], 'status', 'RAISED')) ELSE '[]' END)";
        let changes = [
            ("id", ids.sql()),
            ("latest_analysis", analysis.to_owned()),
            ("session_id", format!("{}::text", ids.sql())),
            ("customer_id", self.customer(7_919)),
            ("entry_point", "(ARRAY['WHATSAPP', 'WEBSITE_WIDGET', 'EMAIL'])[n % 3 + 1]".to_owned()),
            ("status", "'ENDED'".to_owned()),
            ("outcome", "(ARRAY['PURCHASED', 'INTERESTED', 'NO_RESPONSE'])[n % 3 + 1]".to_owned()),
            ("started_at", start.clone()),
            ("ended_at", format!("{start} + interval '5 minutes'")),
            ("last_sequence", MESSAGES.to_string()),
            ("last_message_at", format!("{start} + interval '4 minutes'")),
            ("created_at", start.clone()),
            ("updated_at", format!("{start} + interval '5 minutes'")),
        ];
        copy(sql, "conversations", (self.tenant, first), &numbers(count), &changes).await?;
        Ok(ids)
    }

    /// Adds messages of the customer and of a model in turn.
    async fn messages(&self, sql: &Sql, channel: &Channel, conversations: Ids) -> Result<()> {
        let first = message(channel, self.tenant, self.first).await?;
        let ids = Ids::new(MESSAGES * conversations.count);
        let prefix = conversations.prefix();
        let numbers = format!(
            "(SELECT n, (n - 1) % {MESSAGES} + 1 AS sequence, \
              ('{prefix}' || lpad(to_hex((n - 1) / {MESSAGES} + 1), 16, '0'))::uuid AS conversation_id \
              FROM generate_series(1, {}) AS n) AS numbers",
            ids.count
        );
        let ai = "CASE WHEN sequence % 2 = 0 THEN jsonb_build_object('provider', 'local', 'model', \
                  (ARRAY['small', 'medium', 'large'])[n % 3 + 1], 'prompt_tokens', 900 + n % 700, \
                  'completion_tokens', 40 + n % 90, 'cached_tokens', n % 400, \
                  'response_duration_us', 300000 + n::bigint * 7919 % 4000000) END";
        let changes = [
            ("id", ids.sql()),
            ("conversation_id", "numbers.conversation_id".to_owned()),
            ("sequence", "numbers.sequence".to_owned()),
            ("message_key", "numbers.sequence::text".to_owned()),
            ("role", "CASE WHEN numbers.sequence % 2 = 0 THEN 'ASSISTANT' ELSE 'USER' END".to_owned()),
            ("ai", ai.replace("sequence %", "numbers.sequence %")),
        ];
        copy(sql, "conversation_messages", (self.tenant, first), &numbers, &changes).await
    }

    /// Returns the customer of the row `n`. A prime distributes the rows in an irregular order. Each table has
    /// another prime, so that a customer's rows of two tables are not always or never adjacent.
    fn customer(&self, prime: u64) -> String {
        let (prefix, count) = (self.customers.prefix(), self.customers.count);
        format!("('{prefix}' || lpad(to_hex(n::bigint * {prime} % {count} + 1), 16, '0'))::uuid")
    }

    /// Spreads the creation of customers evenly too.
    async fn customers(&self, sql: &Sql) -> Result<()> {
        let Ids { count, .. } = self.customers;
        sql.batch_execute(&format!(
            "UPDATE customers SET created_at = {time}, updated_at = {time} FROM {numbers} \
             WHERE tenant_id = '{tenant}' AND id = {id}",
            time = self.time_within(self.arrivals, count),
            numbers = numbers(count),
            tenant = self.tenant,
            id = self.customers.sql(),
        ))
        .await?;
        Ok(())
    }

    /// Returns the time of the row `n` of `count`.
    fn time(&self, count: u64) -> String {
        self.time_within(self.span, count)
    }

    fn time_within(&self, span: Duration, count: u64) -> String {
        let (until, span) = (self.until.to_rfc3339(), span.as_secs());
        format!("('{until}'::timestamptz - interval '{span} seconds' * (1 - (n - 0.5) / {count}))")
    }
}
