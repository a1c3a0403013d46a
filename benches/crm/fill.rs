//! Fills tables with thousands of rows, as the service writes them. One row is written through the service, and
//! Postgres copies it with other ids, numbers and words. So the copies also have new columns.

mod month;

use std::fmt::Write;
use std::ops::Deref;

use crm_backend::pb;
use crm_testkit::meter;
use futures_util::try_join;
use rustix::process::Pid;
use tokio_postgres::{Client, Config, NoTls};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::writers::CONTENT;
use crate::{Result, client};

pub(crate) use month::Month;

/// The number of customers that share a word, so that a search finds a handful.
pub(crate) const GROUP: u64 = 20;

/// The number of customers from which on it takes less time to create the indexes anew than to add to them.
const REINDEXED: u64 = 100_000;

/// The word that every customer has.
pub(crate) const COMMON_WORD: &str = "bakery";

/// The names of the first customer and its copies: a common word, a word per customer, and a word per group.
const NAME: &str = "Bakery shopnumber shopgroup";

/// Access to the database as superuser. Large tables are filled by two connections, each with every other row.
pub(crate) struct Sql {
    first: Client,
    second: Client,
}

impl Sql {
    /// Opens the connections.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        Ok(Self { first: connect(config).await?, second: connect(config).await? })
    }
}

impl Deref for Sql {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.first
    }
}

async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with the client, and nobody waits for it")]
    tokio::spawn(connection);
    // Copies refer to what their original refers to, or to copies of it. To look that up for each of millions of rows
    // would take most of the time.
    client.batch_execute("SET session_replication_role = replica").await?;
    // Words of many rows enter an index at once.
    client.batch_execute("SET gin_pending_list_limit = '64MB'; SET maintenance_work_mem = '512MB'").await?;
    Ok(client)
}

/// Returns the first process of Postgres, which started the one of this connection.
pub(crate) async fn postgres(sql: &Sql) -> Result<Pid> {
    let backend = sql.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let postmaster = Pid::from_raw(backend).and_then(meter::parent);
    // Where the system says nothing of processes, nothing of this one is measured either.
    postmaster.or_else(|| Pid::from_raw(backend)).ok_or_else(|| "Postgres has no process".into())
}

/// Ids that are computed from a number, so that both Rust and pgbench can compute them. They are of version 7 and
/// grow with the number, as those of the service do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    /// The first half of all ids.
    prefix: u64,
    /// The number of ids; the first number is 1.
    pub(crate) count: u64,
}

impl Ids {
    /// Returns new, unique ids.
    fn new(count: u64) -> Self {
        Self { prefix: prefix(), count }
    }

    /// The first half as hexadecimal digits.
    pub(crate) fn prefix(self) -> String {
        format!("{:016x}", self.prefix)
    }

    /// The id of a number.
    pub(crate) fn id(self, number: u64) -> Uuid {
        Uuid::from_u64_pair(self.prefix, number)
    }

    /// Returns the id of a number as text.
    pub(crate) fn text(self, number: u64) -> String {
        self.id(number).to_string()
    }

    /// Returns all ids as text.
    pub(crate) fn texts(self) -> Vec<String> {
        (1..=self.count).map(|number| self.text(number)).collect()
    }

    /// Returns the id of the number `n` in SQL.
    fn sql(self) -> String {
        format!("('{}' || lpad(to_hex(n), 16, '0'))::uuid", self.prefix())
    }
}

/// Returns a new, unique first half of ids.
pub(crate) fn prefix() -> u64 {
    Uuid::now_v7().as_u64_pair().0
}

/// Creates a customer through the service, to be copied.
pub(crate) async fn customer(channel: &Channel, tenant: Uuid) -> Result<Uuid> {
    let customer = pb::Customer {
        business_name: NAME.to_owned(),
        contact_name: "Zoë Baker".to_owned(),
        email: "shopnumber@example.com".to_owned(),
        industry_category: "food".to_owned(),
        business_context: Some(pb::BusinessContext {
            description: "Bread and cakes from the corner".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = pb::CreateCustomerRequest { customer: Some(customer), ..Default::default() };
    let response = client::customers(channel, tenant)?.create_customer(request).await?;
    id(response.into_inner().customer.map(|customer| customer.id))
}

/// Creates a conversation through the service, to be copied.
pub(crate) async fn conversation(channel: &Channel, tenant: Uuid, customer: Uuid) -> Result<Uuid> {
    let conversation = pb::Conversation {
        customer_id: customer.to_string(),
        session_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let request = pb::CreateConversationRequest { conversation: Some(conversation), ..Default::default() };
    let response = client::conversations(channel, tenant)?.create_conversation(request).await?;
    id(response.into_inner().conversation.map(|conversation| conversation.id))
}

/// Creates a message through the service, in a conversation of its own, to be copied.
async fn message(channel: &Channel, tenant: Uuid, customer: Uuid) -> Result<Uuid> {
    let conversation = conversation(channel, tenant, customer).await?;
    let message = pb::Message {
        message_key: "first".to_owned(),
        role: pb::MessageRole::User.into(),
        content: CONTENT.clone(),
        ..Default::default()
    };
    let request = pb::CreateMessageRequest {
        conversation_id: conversation.to_string(),
        message: Some(message),
        request_id: String::new(),
    };
    let response = client::conversations(channel, tenant)?.create_message(request).await?;
    id(response.into_inner().message.map(|message| message.id))
}

fn id(id: Option<String>) -> Result<Uuid> {
    Ok(Uuid::parse_str(&id.ok_or("an answer without the row")?)?)
}

/// Copies a customer, with names and words of its own for each copy.
pub(crate) async fn customers(sql: &Sql, tenant: Uuid, first: Uuid, count: u64) -> Result<Ids> {
    let ids = Ids::new(count);
    let named = |column: &str| {
        format!(
            "replace(replace({column}, 'shopnumber', 's' || lpad(n::text, 7, '0')), \
             'shopgroup', 'g' || lpad((n / {GROUP})::text, 7, '0'))"
        )
    };
    let lexemes = named("array_to_string(tsvector_to_array(m.search_vector), ' ')");
    let changes = [
        ("id", ids.sql()),
        ("business_name", named("m.business_name")),
        ("sort_name", named("m.sort_name")),
        ("slug", named("m.slug")),
        ("email", named("m.email")),
        ("search_vector", format!("array_to_tsvector(string_to_array({lexemes}, ' '))")),
        ("created_at", "m.created_at + n * interval '1 microsecond'".to_owned()),
        ("updated_at", "m.updated_at + n * interval '1 microsecond'".to_owned()),
    ];
    let indexes = if count < REINDEXED { Vec::new() } else { drop_indexes(sql, "customers").await? };
    copy(sql, "customers", (tenant, first), &numbers(count), &changes).await?;
    create_indexes(sql, &indexes).await?;
    count_customers(sql, tenant, tenant).await?;
    Ok(ids)
}

/// Drops the indexes of a table that are not unique. Returns the statements that create them again.
async fn drop_indexes(sql: &Sql, table: &str) -> Result<Vec<String>> {
    let indexes = sql
        .query(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index \
             WHERE indrelid = $1::text::regclass AND NOT indisunique",
            &[&table],
        )
        .await?;
    for index in &indexes {
        let name: &str = index.get(0);
        sql.batch_execute(&format!("DROP INDEX {name}")).await?;
    }
    Ok(indexes.iter().map(|index| index.get(1)).collect())
}

/// Creates indexes, one after the other on each connection.
async fn create_indexes(sql: &Sql, indexes: &[String]) -> Result<()> {
    let (first, second) = indexes.split_at(indexes.len() / 2);
    let (first, second) = (first.join(";"), second.join(";"));
    try_join!(sql.first.batch_execute(&first), sql.second.batch_execute(&second))?;
    Ok(())
}

/// Counts the customers of the tenants with ids from `first` to `last`, as the service does for each of them.
async fn count_customers(sql: &Sql, first: Uuid, last: Uuid) -> Result<()> {
    sql.batch_execute(&format!(
        "DELETE FROM customer_counts WHERE tenant_id BETWEEN '{first}' AND '{last}'; \
         INSERT INTO customer_counts (tenant_id, dimension, value, shard, customers) \
         SELECT c.tenant_id, d.dimension, d.value, get_byte(uuid_send(c.id), 15) & 15, count(*) \
         FROM customers AS c CROSS JOIN LATERAL (VALUES ('STATUS', c.status), \
         ('INDUSTRY_CATEGORY', c.industry_category), ('SOURCE', c.source)) AS d (dimension, value) \
         WHERE c.tenant_id BETWEEN '{first}' AND '{last}' AND c.deleted_at IS NULL GROUP BY 1, 2, 3, 4"
    ))
    .await?;
    Ok(())
}

/// Returns the words of the `number`th customer and of its group.
pub(crate) fn words(number: u64) -> [String; 2] {
    [format!("s{number:07}"), format!("g{:07}", number / GROUP)]
}

/// Copies an empty conversation.
pub(crate) async fn conversations(sql: &Sql, tenant: Uuid, first: Uuid, count: u64) -> Result<Ids> {
    let ids = Ids::new(count);
    let changes = [("id", ids.sql()), ("session_id", format!("{}::text", ids.sql()))];
    copy(sql, "conversations", (tenant, first), &numbers(count), &changes).await?;
    Ok(ids)
}

/// Adds messages to each of these empty conversations. Messages of one conversation are not stored side by side, as
/// if many conversations went on at once.
pub(crate) async fn messages(
    sql: &Sql,
    channel: &Channel,
    (tenant, customer): (Uuid, Uuid),
    conversations: Ids,
    count: u64,
) -> Result<()> {
    let first = message(channel, tenant, customer).await?;
    let ids = Ids::new(count * conversations.count);
    let prefix = conversations.prefix();
    let numbers = format!(
        "(SELECT row_number() OVER (ORDER BY sequence, number) AS n, sequence, \
          ('{prefix}' || lpad(to_hex(number), 16, '0'))::uuid AS conversation_id \
          FROM generate_series(1, {count}) AS sequence, generate_series(1, {}) AS number) AS numbers",
        conversations.count
    );
    let changes = [
        ("id", ids.sql()),
        ("conversation_id", "numbers.conversation_id".to_owned()),
        ("sequence", "numbers.sequence".to_owned()),
        ("message_key", format!("replace({}::text, '-', '')", ids.sql())),
        ("created_at", "m.created_at + n * interval '1 microsecond'".to_owned()),
        ("updated_at", "m.updated_at + n * interval '1 microsecond'".to_owned()),
    ];
    copy(sql, "conversation_messages", (tenant, first), &numbers, &changes).await?;
    sql.batch_execute(&format!(
        "UPDATE conversations SET last_sequence = {count}, last_message_at = now() \
         WHERE tenant_id = '{tenant}' AND id BETWEEN '{}' AND '{}'",
        conversations.text(1),
        conversations.text(conversations.count)
    ))
    .await?;
    Ok(())
}

/// Creates tenants with copies of a tenant's customer and of one of its conversations with all messages, under the
/// same ids.
pub(crate) async fn tenants(
    sql: &Sql,
    (tenant, customer, conversation): (Uuid, Uuid, Uuid),
    count: u64,
) -> Result<Ids> {
    let ids = Ids::new(count);
    let changes = [("tenant_id", ids.sql())];
    for (table, column, id) in [
        ("customers", "id", customer),
        ("conversations", "id", conversation),
        ("conversation_messages", "conversation_id", conversation),
    ] {
        let rows = format!("m.tenant_id = '{tenant}' AND m.{column} = '{id}'");
        copy_rows(sql, table, &rows, &numbers(count), &changes).await?;
    }
    count_customers(sql, ids.id(1), ids.id(count)).await?;
    Ok(ids)
}

/// The tables that scenarios fill.
const TIDIED: [&str; 12] = [
    "customers",
    "customer_counts",
    "conversations",
    "conversation_messages",
    "customer_faqs",
    "customer_faq_terms",
    "faq_observations",
    "pending_questions",
    "campaign_customers",
    "campaign_events",
    "interest_events",
    "purchases",
];

/// Updates the planner's statistics and the visibility map.
pub(crate) async fn tidy(sql: &Sql) -> Result<()> {
    for table in TIDIED {
        sql.batch_execute(&format!("VACUUM (ANALYZE) {table}")).await?;
    }
    Ok(())
}

/// Returns the numbers 1 to `count` as `n`.
fn numbers(count: u64) -> String {
    format!("generate_series(1, {count}) AS n")
}

/// Copies the row of a tenant with this id once for each row of `numbers`, with some columns changed.
async fn copy(
    sql: &Sql,
    table: &str,
    (tenant, first): (Uuid, Uuid),
    numbers: &str,
    changes: &[(&str, String)],
) -> Result<()> {
    let row = format!("m.tenant_id = '{tenant}' AND m.id = '{first}'");
    // One row in the order of the numbers: to sort all copies would write them to files first.
    insert(sql, table, &row, numbers, changes, "").await
}

/// As [`copy`], for all rows `m` for which the condition `rows` is true.
async fn copy_rows(
    sql: &Sql,
    table: &str,
    rows: &str,
    numbers: &str,
    changes: &[(&str, String)],
) -> Result<()> {
    insert(sql, table, rows, numbers, changes, "ORDER BY n").await
}

/// Copies rows in some order.
async fn insert(
    sql: &Sql,
    table: &str,
    rows: &str,
    numbers: &str,
    changes: &[(&str, String)],
    order: &str,
) -> Result<()> {
    let columns = sql
        .query(
            "SELECT attname::text FROM pg_attribute \
             WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
            &[&table],
        )
        .await?;
    let (mut names, mut values) = (String::new(), String::new());
    for column in &columns {
        let name: &str = column.get(0);
        let comma = if names.is_empty() { "" } else { ", " };
        write!(names, "{comma}\"{name}\"")?;
        match changes.iter().find(|(changed, _)| *changed == name) {
            Some((_, value)) => write!(values, "{comma}{value}")?,
            None => write!(values, "{comma}m.\"{name}\"")?,
        }
    }
    let half = |half: u8| {
        format!(
            "INSERT INTO {table} ({names}) SELECT {values} FROM {table} AS m, {numbers} \
             WHERE {rows} AND n % 2 = {half} {order}"
        )
    };
    let (first, second) = (half(1), half(0));
    try_join!(sql.first.batch_execute(&first), sql.second.batch_execute(&second))?;
    Ok(())
}
