//! How the database finds what the service asks for: by index, in the wanted order, and without reading more than a
//! page.
//!
//! Postgres itself counts, while the real service makes its calls: how often each index and each whole table was
//! read, and how many entries.

use std::collections::BTreeMap;
use std::time::Duration;

use crm_backend::db::kept::Kept;
use crm_backend::db::{Access, Db, Deadline, PoolLimits, Statements, TenantTx, Whose};
use crm_backend::error::Error;
use crm_backend::pb::{
    Customer, CustomerStatus, ExternalId, ListConversationsRequest, ListCustomersRequest,
    ListMessagesRequest, get_message_request::Name,
};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::support::citus::Citus;
use crate::support::conversations::{delta, finish, message, start};
use crate::support::customers::named;
use crate::support::sql::{
    end_connections, multiply_conversations, multiply_customers, multiply_messages, multiply_tenants, settle,
};
use crate::support::{Crm, PATIENCE, Settings, Tenant, eventually};

/// The number of calls that are counted together: more than five, after which Postgres may change to a plan that does
/// not know the parameters.
const CALLS: i64 = 12;

/// A tenant with 20,000 customers, beside another with as many.
async fn large() -> (Crm, Tenant) {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let (tenant, other) = (crm.tenant(), crm.tenant());
    for tenant in [&tenant, &other] {
        for name in
            ["Bakery", "Butcher", "Café", "Dentist", "Florist", "Garage", "Hotel", "Inn", "Jeweller", "Kiosk"]
        {
            tenant.customer(name).await;
        }
        multiply_customers(&sql, tenant, 1_999).await;
    }
    let rare = Customer {
        owner: "ana".to_owned(),
        external_ids: vec![shop("X-1")],
        industry_category: "lighthouses".to_owned(),
        status: CustomerStatus::Churned.into(),
        tags: vec!["singular".to_owned()],
        email: "rare@quetzal.example".to_owned(),
        phone: "+49 30 9018-2017".to_owned(),
        ..named("Quetzal")
    };
    tenant.create(rare).await.expect("created");
    settle(&sql, &["customers"]).await;
    (crm, tenant)
}

/// How often an index or a table was read, and how many entries.
type Counts = BTreeMap<String, (i64, i64)>;

/// Returns what is read while `calls` run, through a separate replica with one connection. Every message needs an event
/// of the audit log.
async fn reads(crm: &Crm, tenant: &Tenant, calls: impl AsyncFn(&Tenant)) -> Counts {
    let settings = Settings { connections: 1, audit_cover: Duration::ZERO, ..Settings::default() };
    let sql = crm.sql().await;
    // Earlier reads are reported before the count begins.
    end_connections(&sql).await;
    let mut replica = crm.replica_with(settings).await;
    sql.run("SELECT pg_stat_reset()").await;
    calls(&tenant.through(&replica)).await;
    // A connection reports its counts when it ends; those of the first replica ended before.
    let backends =
        sql.number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").await;
    replica.shut_down().await.expect("a clean end");
    eventually("the replica's connections have ended", async || {
        let now = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        sql.number(now).await < backends
    })
    .await;
    // At its start the replica read its keys and the rows to recompute, which may be reported after the reset. It
    // also looks for abandoned messages, independently of calls.
    let counts = "SELECT indexrelname, idx_scan, idx_tup_read FROM pg_stat_user_indexes
                  WHERE idx_scan > 0 AND relname NOT IN ('service_keys', 'message_drafts', 'reindexing')
                  UNION ALL
                  SELECT relname, seq_scan, seq_tup_read FROM pg_stat_user_tables
                  WHERE seq_scan > 0 AND relname NOT IN ('service_keys', 'message_drafts', 'reindexing')";
    let mut found = Counts::new();
    eventually("the counts arrive", async || found_in(&sql.rows(counts).await) != Counts::new()).await;
    found.extend(found_in(&sql.rows(counts).await));
    found
}

fn found_in(rows: &[Vec<Option<String>>]) -> Counts {
    let mut found = Counts::new();
    for row in rows {
        let text = |column: usize| row[column].clone().expect("no null");
        let number = |column| text(column).parse().expect("a number");
        found.insert(text(0), (number(1), number(2)));
    }
    found
}

/// Checks that some lists use only these indexes, and read at most this many entries per call.
pub(crate) async fn hold(
    crm: &Crm,
    tenant: &Tenant,
    what: &str,
    calls: impl AsyncFn(&Tenant),
    indexes: &[&str],
    entries: i64,
) {
    if Citus::is_another("what indexes are read are counts") {
        return calls(tenant).await;
    }
    let found = reads(crm, tenant, async |tenant: &Tenant| {
        for _ in 0..CALLS {
            calls(tenant).await;
        }
    })
    .await;
    for (name, (scans, read)) in &found {
        assert!(indexes.contains(&name.as_str()), "{what} reads {name}: {found:?}");
        assert!(*read <= entries * CALLS, "{what} reads {read} entries in {scans} scans of {name}");
    }
    assert!(found.contains_key(indexes[0]), "{what} does not use {}: {found:?}", indexes[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_customers_reads_a_page_of_an_index() {
    let (crm, tenant) = large().await;
    let list = |request: ListCustomersRequest| {
        async move |tenant: &Tenant| drop(tenant.list(request.clone()).await.expect("a page"))
    };
    let by = |order_by: &str| ListCustomersRequest { order_by: order_by.to_owned(), ..Default::default() };
    for (order_by, index) in [
        ("create_time", "customers_tenant_id_created_at_idx"),
        ("update_time", "customers_tenant_id_updated_at_idx"),
        ("business_name", "customers_tenant_id_sort_name_idx"),
    ] {
        for order_by in [order_by.to_owned(), format!("{order_by} desc")] {
            hold(&crm, &tenant, &order_by, list(by(&order_by)), &[index], 60).await;
            // A page after 2,000 customers costs as much as the first page.
            let mut deep = ListCustomersRequest { page_size: 500, ..by(&order_by) };
            for _ in 0..4 {
                deep.page_token = tenant.list(deep.clone()).await.expect("a page").next_page_token;
            }
            deep.page_size = 50;
            hold(&crm, &tenant, &format!("a deep page by {order_by}"), list(deep), &[index], 60).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_leaves_few_customers_reads_few_entries() {
    let (crm, tenant) = large().await;
    let text = str::to_owned;
    let all = ListCustomersRequest::default;
    let churned = vec![CustomerStatus::Churned.into()];
    let cases = [
        (ListCustomersRequest { owner: text("ana"), ..all() }, "customers_tenant_id_owner_idx"),
        (
            ListCustomersRequest { industry_category: text("lighthouses"), ..all() },
            "customers_tenant_id_industry_category_idx",
        ),
        (ListCustomersRequest { statuses: churned, ..all() }, "customers_tenant_id_status_idx"),
    ];
    for (request, index) in cases {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.list(request.clone()).await.expect("a page");
            assert_eq!(page.customers.len(), 1);
        };
        hold(&crm, &tenant, &what, list, &[index], 2).await;
    }
    let request = ListCustomersRequest { external_id: Some(shop("X-1")), ..all() };
    let list = async |tenant: &Tenant| {
        assert_eq!(tenant.list(request.clone()).await.expect("a page").customers.len(), 1);
    };
    hold(&crm, &tenant, "an id", list, &["customer_external_ids_pkey", "customers_pkey"], 2).await;
}

/// Returns an id in the shop.
fn shop(id: &str) -> ExternalId {
    ExternalId { source: "shop".to_owned(), id: id.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_for_a_rare_word_reads_the_search_index() {
    let (crm, tenant) = large().await;
    let search = |query: &str, tags: &[&str]| ListCustomersRequest {
        query: query.to_owned(),
        tags: tags.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    for request in [
        search("quetzal", &[]),
        search("quetz", &[]),
        search("", &["singular"]),
        search("quetzal", &["singular"]),
        search("rare@quetzal.example", &[]),
        search("9018-2017", &[]),
        ListCustomersRequest { email: "Rare@quetzal.example".to_owned(), ..search("", &[]) },
        ListCustomersRequest { phone: "0049 30 9018 2017".to_owned(), ..search("", &[]) },
    ] {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.list(request.clone()).await.expect("a page");
            assert_eq!(page.customers.len(), 1);
        };
        hold(&crm, &tenant, &what, list, &["customers_search_vector_idx"], 4).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_read_by_its_key() {
    let (crm, tenant) = large().await;
    let id = tenant.list(Default::default()).await.expect("a page").customers[7].id.clone();
    let get = async |tenant: &Tenant| drop(tenant.get(&id).await.expect("there"));
    let indexes = ["customers_pkey", "customer_consents_pkey"];
    hold(&crm, &tenant, "GetCustomer", get, &indexes, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_messages_reads_a_page_of_an_index() {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let tenant = crm.tenant();
    let (talk, other) = (tenant.conversation().await, tenant.conversation().await);
    multiply_conversations(&sql, &tenant, 2_000).await;
    for id in [&talk.id, &other.id] {
        tenant.add(id, message("a", "Hello")).await.expect("added");
        multiply_messages(&sql, id, 20_000).await;
    }
    settle(&sql, &["conversation_messages", "conversations"]).await;
    let of = |order_by: &str, after: Option<i32>| ListMessagesRequest {
        conversation_id: talk.id.clone(),
        order_by: order_by.to_owned(),
        after_sequence: after,
        ..Default::default()
    };
    for request in
        [of("", None), of("sequence desc", None), of("", Some(15_000)), of("sequence desc", Some(5_000))]
    {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            assert_eq!(tenant.message_page(request.clone()).await.expect("a page").messages.len(), 50);
        };
        hold(&crm, &tenant, &what, list, &["conversation_messages_sequence_key"], 60).await;
    }
    let add = async |tenant: &Tenant| {
        drop(tenant.add(&talk.id, message(&uuid::Uuid::new_v4().to_string(), "x")).await)
    };
    let indexes = [
        "conversation_messages_message_key_key",
        "conversations_pkey",
        "conversation_messages_pkey",
        "conversation_messages_sequence_key",
        "audit_events_pkey",
    ];
    hold(&crm, &tenant, "CreateMessage", add, &indexes, 8).await;
    let get = async |tenant: &Tenant| {
        let name = Name::MessageKey("a".to_owned());
        assert_eq!(tenant.message_named(&talk.id, name).await.expect("there").content, "Hello");
    };
    hold(&crm, &tenant, "GetMessage by key", get, &["conversation_messages_message_key_key"], 1).await;
}

/// The number of tenants with a conversation and a message each, beside one with thousands. The planner would take each
/// tenant for an average one.
const SMALL_TENANTS: u32 = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tenant_among_many_small_ones_is_written_to_by_key() {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let (tenant, small) = (crm.tenant(), crm.tenant());
    let (talk, first) = (tenant.conversation().await, small.conversation().await);
    small.add(&first.id, message("a", "Hello")).await.expect("added");
    multiply_tenants(&sql, &small, &["conversations", "conversation_messages"], SMALL_TENANTS).await;
    multiply_conversations(&sql, &tenant, 5_000).await;
    tenant.add(&talk.id, message("a", "Hello")).await.expect("added");
    multiply_messages(&sql, &talk.id, 5_000).await;
    settle(&sql, &["conversation_messages", "conversations"]).await;
    let key = || uuid::Uuid::new_v4().to_string();
    let add = async |tenant: &Tenant| drop(tenant.add(&talk.id, message(&key(), "x")).await.expect("added"));
    let again = async |tenant: &Tenant| {
        assert!(tenant.add(&talk.id, message("a", "Hello")).await.expect("there").1);
    };
    let reply = async |tenant: &Tenant| {
        let (mut stream, key) = (tenant.stream().await, key());
        stream.tell(&talk.id, [start(&key, "agent"), delta(&key, 0, "Hello"), finish(&key, 5)]);
        stream.close();
        while stream.answer().await.expect("the stream ends with OK").is_some() {}
        assert_eq!(
            tenant.message_named(&talk.id, Name::MessageKey(key)).await.expect("there").content,
            "Hello"
        );
    };
    let keys = [
        "conversations_pkey",
        "conversation_messages_message_key_key",
        "conversation_messages_pkey",
        "conversation_messages_sequence_key",
        "message_drafts_pkey",
        "message_pieces_pkey",
        "audit_events_pkey",
    ];
    hold(&crm, &tenant, "CreateMessage", add, &keys, 8).await;
    hold(&crm, &tenant, "CreateMessage, again", again, &keys, 8).await;
    hold(&crm, &tenant, "AddMessage in pieces", reply, &keys, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plan_is_compiled_however_expensive_it_looks() {
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        jit: String,
    }
    let crm = Crm::start().await;
    // As Postgres is set where it is not the service's own.
    let sql = crm.sql().await;
    let database = sql.texts("SELECT quote_ident(current_database())").await;
    sql.run(&format!("ALTER DATABASE {} SET jit = on", database[0])).await;
    assert_eq!(crm.sql().await.texts("SHOW jit").await, ["on"]);
    let limits = PoolLimits { connections: 1, wait: PATIENCE, transaction: PATIENCE };
    let db = Db::new(&crm.target(), limits).expect("a pool");
    let caller = crm.tenant().caller().await;
    let ask = async |tx: &TenantTx| {
        let setting = diesel::sql_query("SHOW jit").get_result::<Setting>(&mut tx.connection()).await;
        setting.map(|Setting { jit }| jit).map_err(Error::from)
    };
    let deadline = Deadline::after(PATIENCE);
    for access in [Access::ReadOnly, Access::Snapshot] {
        assert_eq!(db.read(&caller, access, None, deadline, ask).await.expect("read"), "off");
    }
    assert_eq!(db.write(&caller, deadline, ask).await.expect("written"), "off");
    let statements = Statements { name: "settings", run: async |tx: &TenantTx| ask(tx).await.map(drop) };
    let batch = db.batch(&caller, Whose::One, Duration::ZERO, deadline, statements).await.expect("open");
    assert_eq!(batch.begin(batch.as_tenant(&caller, ask)).await.expect("an answer"), "off");
    batch.rollback().await;
    let mut kept = Kept::new(crm.target());
    let asked = kept.ask(PATIENCE, async |connection: &mut AsyncPgConnection| {
        diesel::sql_query("SHOW jit").get_result::<Setting>(connection).await
    });
    assert_eq!(asked.await.expect("an answer").jit, "off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_conversations_reads_a_page_of_an_index() {
    let crm = Crm::start().await;
    let sql = crm.sql().await;
    let tenant = crm.tenant();
    let talks = [tenant.conversation().await, tenant.conversation().await];
    multiply_conversations(&sql, &tenant, 10_000).await;
    let rare = tenant.conversation().await;
    settle(&sql, &["conversations"]).await;
    let all = ListConversationsRequest::default;
    let by = |order_by: &str| ListConversationsRequest { order_by: order_by.to_owned(), ..all() };
    let cases = [
        (all(), 50, "conversations_tenant_id_started_at_idx"),
        (by("start_time"), 50, "conversations_tenant_id_started_at_idx"),
        (by("update_time desc"), 50, "conversations_tenant_id_updated_at_idx"),
        (
            ListConversationsRequest { customer_id: talks[0].customer_id.clone(), ..all() },
            50,
            "conversations_tenant_id_customer_id_idx",
        ),
        (
            ListConversationsRequest { customer_id: rare.customer_id.clone(), ..all() },
            1,
            "conversations_tenant_id_customer_id_idx",
        ),
        (
            ListConversationsRequest { session_id: rare.session_id.clone(), ..all() },
            1,
            "conversations_tenant_id_session_id_idx",
        ),
    ];
    for (request, count, index) in cases {
        let what = format!("{request:?}");
        let list = async |tenant: &Tenant| {
            let page = tenant.conversation_page(request.clone()).await.expect("a page");
            assert_eq!(page.conversations.len(), count);
        };
        hold(&crm, &tenant, &what, list, &[index], 60).await;
    }
}
