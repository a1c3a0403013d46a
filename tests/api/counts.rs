//! The number of customers: wrong counts refuse nothing, and are counted again.

use clap::Parser;
use crm_backend::config::{Cli, Command};
use crm_backend::pb::{Customer, CustomerStatus};
use crm_backend::startup;
use crm_testkit::Sql;
use tonic::Code;

use crate::support::customers::named;
use crate::support::postgres::{Database, waiting_statements};
use crate::support::{Crm, Refusal, Settings, at_once, begin, eventually};

/// Returns the values whose stored number differs from the real one.
async fn wrong(sql: &Sql) -> Vec<String> {
    sql.texts(
        "SELECT k.dimension || ' ' || k.value || ': ' || coalesce(c.customers, 0) || ' and not ' || coalesce(k.customers, 0)
         FROM (SELECT tenant_id, dimension, value, sum(customers) AS customers FROM customer_counts GROUP BY 1, 2, 3) c
         FULL JOIN (
             SELECT c.tenant_id, d.dimension, d.value, count(*) AS customers FROM customers c
             CROSS JOIN LATERAL (VALUES ('STATUS', c.status), ('INDUSTRY_CATEGORY', c.industry_category),
                 ('SOURCE', c.source)) AS d (dimension, value)
             WHERE c.deleted_at IS NULL GROUP BY 1, 2, 3
         ) k USING (tenant_id, dimension, value)
         WHERE coalesce(c.customers, 0) <> coalesce(k.customers, 0)",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_off_refuse_no_change_and_are_counted_anew() {
    let database = Database::create().await;
    let url = database.url();
    let crm = Crm::over(database, Settings::default()).await;
    let (tenant, sql) = (crm.tenant(), crm.sql().await);
    let request = Customer { industry_category: "food".to_owned(), ..named("Zoe") };
    let zoe = tenant.create(request.clone()).await.expect("created").id;
    let ana = tenant.create(request).await.expect("created").id;
    // As if a replica without counting had created them: a wrong number, and no number.
    for drift in ["UPDATE customer_counts SET customers = 0", "DELETE FROM customer_counts"] {
        sql.run(drift).await;
        for status in [CustomerStatus::Active, CustomerStatus::Prospect, CustomerStatus::Lead] {
            let change = Customer { id: zoe.clone(), status: status.into(), ..Default::default() };
            let zoe = tenant.update(change, &["status"]).await.expect("updated");
            assert_eq!(zoe.status(), status);
        }
        tenant.delete(&ana).await.expect("deleted");
        tenant.undelete(&ana).await.expect("there again");
        let below = "SELECT count(*) FROM customer_counts WHERE customers < 0";
        assert_eq!(sql.number(below).await, 0);
    }
    sql.run("UPDATE customer_counts SET customers = customers + 7").await;
    assert!(!wrong(&sql).await.is_empty());
    let cli = Cli::parse_from(["crm-backend", "recount", "--database-url", &url]);
    let Command::Recount(config) = cli.into_command() else { panic!("another command") };
    startup::recount(config).await.expect("counted");
    assert_eq!(wrong(&sql).await, [""; 0]);
    tenant.delete(&ana).await.expect("deleted");
    assert_eq!(wrong(&sql).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slug_that_is_taken_at_the_same_time_costs_no_deadlock() {
    const SHARDS: usize = 16;
    // A tenant may use only a part of them.
    let crm = Crm::with(Settings { connections: 60, ..Settings::default() }).await;
    let (tenant, holder) = (crm.tenant(), crm.sql().await);
    // One customer for each shard of the counts, so that one of them is in the new customer's
    // shard.
    let mut of_shards = vec![None; SHARDS];
    while of_shards.iter().any(Option::is_none) {
        let id = tenant.customer("Zoe").await.id;
        let shard = usize::from_str_radix(&id[35..], 16).expect("a digit");
        of_shards[shard] = Some(id);
    }
    let shards = "generate_series(0, 15) AS shard";
    holder
        .run(&format!(
            "INSERT INTO customer_counts (tenant_id, dimension, value, shard, customers)
             SELECT '{0}', 'INDUSTRY_CATEGORY', 'food', shard, 0 FROM {shards};
             BEGIN; SELECT FROM customer_counts WHERE tenant_id = '{0}' AND value = 'food' FOR UPDATE",
            tenant.id
        ))
        .await;
    // It has taken the slug, and waits for its first count.
    let request =
        Customer { slug: "wanted".to_owned(), industry_category: "food".to_owned(), ..named("Ana") };
    let create = begin({
        let tenant = tenant.clone();
        async move { tenant.create(request).await }
    });
    let observer = crm.sql().await;
    eventually("the new customer waits", async || waiting_statements(&observer).await == 1).await;
    let updates = of_shards.into_iter().flatten().map(|id| {
        let tenant = tenant.clone();
        let wanted = Customer {
            id,
            slug: "wanted".to_owned(),
            status: CustomerStatus::Active.into(),
            ..Default::default()
        };
        async move { tenant.update(wanted, &["slug", "status"]).await }
    });
    let updates = begin(at_once(updates.collect::<Vec<_>>()));
    eventually("the others wait for its slug", async || waiting_statements(&observer).await == 17).await;
    holder.run("COMMIT").await;
    create.end().await.expect("it was first");
    for outcome in updates.end().await {
        outcome.expect_err("taken").is(Code::AlreadyExists, "SLUG_TAKEN");
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(observer.number(deadlocks).await, 0);
    assert_eq!(wrong(&observer).await, [""; 0]);
}
