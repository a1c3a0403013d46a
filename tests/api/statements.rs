//! Checks the check of statements: each rule detects a statement that breaks it, and the service's statements are
//! seen.

use std::collections::BTreeSet;

use tonic::Code;

use crate::support::raw::{call, rpcs};
use crate::support::samples::{self, About};
use crate::support::statements::{OF_ALL_TENANTS, count, faults, judge, tables};
use crate::support::{Crm, at_once};

/// The minimum number of different statements about tenants in one call of each RPC with a new tenant.
const OF_ALL_RPCS: usize = 40;

fn some_tables() -> BTreeSet<String> {
    ["customers", "campaigns", "customer_counts", "audit_events"].map(str::to_owned).into()
}

fn found(statement: &str) -> Vec<String> {
    faults(statement, &some_tables())
}

#[test]
fn a_statement_that_does_not_name_the_tenant_of_a_table_is_found() {
    for (statement, table) in [
        ("SELECT id FROM customers WHERE id = $1", "customers"),
        ("SELECT id FROM customers AS c WHERE c.tenant_id = $1 OR c.id = $2", "c"),
        (
            "SELECT id FROM customers AS c JOIN campaigns AS k ON k.tenant_id = c.tenant_id WHERE c.tenant_id = $1",
            "k",
        ),
        ("SELECT id FROM customers AS c JOIN campaigns AS k ON true WHERE tenant_id = $1", "c"),
        ("SELECT (SELECT count(*) FROM campaigns) FROM customers WHERE tenant_id = $1", "campaigns"),
        ("WITH g AS (SELECT $1::uuid AS t) SELECT FROM g, customers AS c WHERE c.tenant_id = g.t", "c"),
        (
            "SELECT FROM unnest($1) AS u CROSS JOIN LATERAL (SELECT FROM customers AS c WHERE c.id = u) AS x",
            "c",
        ),
        ("UPDATE customers AS c SET id = $1 WHERE c.id = $2", "c"),
        ("UPDATE customers AS c SET id = k.id FROM campaigns AS k WHERE c.tenant_id = $1", "k"),
        ("DELETE FROM customers WHERE id = $1", "customers"),
    ] {
        let expected = format!("the tenant of {table} is no parameter, in: {statement}");
        assert!(found(statement).contains(&expected), "{statement}: {:?}", found(statement));
    }
    for statement in [
        "INSERT INTO customers (tenant_id, id) SELECT c.tenant_id, c.id FROM customers AS c \
         WHERE c.tenant_id = $1 RETURNING id",
        "INSERT INTO customers (id, tenant_id) SELECT x.*, $1 FROM unnest($2) AS x RETURNING id",
    ] {
        assert!(found(statement)[0].contains("inserted into customers is no parameter"), "{statement}");
    }
    assert!(found("INSERT INTO customers (id) VALUES ($1)")[0].contains("without its tenant"));
}

#[test]
fn what_citus_refuses_is_found() {
    for (statement, fault) in [
        ("INSERT INTO customers (tenant_id, id) SELECT $1, x FROM unnest($2) AS x", "becomes COPY"),
        (
            "UPDATE customers SET n = coalesce((SELECT max(k.n) FROM campaigns AS k WHERE k.tenant_id = $1), 0) \
             WHERE tenant_id = $1",
            "within COALESCE",
        ),
        (
            "SELECT CASE WHEN EXISTS (SELECT FROM campaigns AS k WHERE k.tenant_id = $1) THEN 1 END FROM customers \
             WHERE tenant_id = $1",
            "within CASE",
        ),
        ("SELECT set_config('a', id, true) FROM customers WHERE tenant_id = $1", "set_config"),
        ("INSERT INTO customers (tenant_id, id) VALUES ($1, nextval('x'))", "nextval"),
        ("UPDATE customers SET tenant_id = $1 WHERE tenant_id = $2", "is changed"),
        ("SELECT FROM WHERE customers", "cannot be parsed"),
    ] {
        let found = found(statement);
        assert!(found.iter().any(|found| found.contains(fault)), "{statement}: {found:?}");
    }
}

#[test]
fn a_statement_that_names_its_tenants_is_good() {
    for statement in [
        "SELECT \"customers\".\"id\" FROM \"customers\" WHERE ((\"customers\".\"tenant_id\" = $1) AND (id = $2)) \
         FOR NO KEY UPDATE",
        "SELECT FROM unnest($1) AS u CROSS JOIN LATERAL (SELECT 1 FROM customers WHERE id = u AND tenant_id = $2 \
         OFFSET 0) AS x LEFT JOIN campaigns AS k ON k.tenant_id = $3 AND k.id = x.id",
        "INSERT INTO customers AS c (tenant_id, id) SELECT $1, x.* FROM unnest($2) AS x \
         ON CONFLICT (tenant_id, id) DO UPDATE SET id = excluded.id",
        "INSERT INTO audit_events (tenant_id, id) VALUES ('x', 'x'); COMMIT",
        "UPDATE customers AS c SET id = x.id FROM unnest($1) AS x (id) WHERE c.id = x.id AND c.tenant_id = $2",
        "SELECT 1 FROM elsewhere",
    ] {
        assert_eq!(found(statement), Vec::<String>::new(), "{statement}");
    }
}

#[test]
fn an_exception_that_is_not_needed_any_more_is_found() {
    let statement = "DELETE FROM customer_counts WHERE tenant_id = $1";
    assert!(found(statement)[0].contains("no exception is needed"), "{:?}", found(statement));
    assert!(OF_ALL_TENANTS.len() <= 8, "the list of exceptions may only shrink");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_rpc_runs_is_judged() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let calls = rpcs().into_iter().map(|rpc| {
        let tenant = tenant.clone();
        async move {
            let answer = call(&tenant, &samples::request(&rpc, &About::nothing()), &rpc).await;
            let failed = answer.err().filter(|error| matches!(error.code(), Code::Internal | Code::Unknown));
            assert!(failed.is_none(), "{}: {failed:?}", rpc.full_name());
        }
    });
    at_once(calls.collect::<Vec<_>>()).await;
    assert!(tables().len() > 20, "{:?}", tables());
    assert!(count() >= OF_ALL_RPCS, "{} statements were seen", count());
    judge();
}
