//! The words of enums in the database: those of the contract, and those of a newer version.

use std::collections::BTreeSet;

use crm_backend::pb::{Campaign, CampaignEventKind, ContactChannel, Conversation, Customer};
use crm_testkit::Sql;
use prost_reflect::{MethodDescriptor, Value};
use tonic::Code;

use crate::support::campaigns::{event, planned};
use crate::support::postgres::Database;
use crate::support::raw::{CONTRACT, call, rpcs};
use crate::support::samples::{request, whole_list};
use crate::support::watch::BEGINNING;
use crate::support::{Crm, Refusal};

/// A column whose values are words of a list, and the list.
struct Listed {
    table: String,
    column: String,
    words: BTreeSet<String>,
}

/// Returns every column whose CHECK allows only some words.
async fn listed(sql: &Sql) -> Vec<Listed> {
    let rows = sql
        .rows(
            "SELECT k.conrelid::regclass::text, a.attname, pg_get_constraintdef(k.oid)
             FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
             WHERE k.contype = 'c' AND k.connamespace = 'public'::regnamespace
               AND pg_get_constraintdef(k.oid) LIKE 'CHECK ((' || a.attname || ' = ANY (ARRAY[%'
             ORDER BY 1, 2",
        )
        .await;
    let words = |definition: &str| {
        let quoted = definition.split('\'').skip(1).step_by(2).map(str::to_owned);
        quoted.collect::<BTreeSet<_>>()
    };
    rows.into_iter()
        .map(|row| {
            let [table, column, definition] = row.try_into().expect("three columns");
            let definition: String = definition.expect("a definition");
            Listed {
                words: words(&definition),
                table: table.expect("a table"),
                column: column.expect("a column"),
            }
        })
        .filter(|listed| (listed.table.as_str(), listed.column.as_str()) != ("customer_counts", "dimension"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_of_words_is_that_of_an_enum_of_the_contract() {
    let database = Database::create().await;
    let listed = listed(&database.sql().await).await;
    assert!(listed.len() >= 20, "{} columns", listed.len());
    let enums: Vec<(String, BTreeSet<String>)> = CONTRACT
        .all_enums()
        .filter(|words| words.package_name() == "crm.v1")
        .map(|words| {
            let zero = words.get_value(0).expect("a zero").name().to_owned();
            let prefix = zero.strip_suffix("UNSPECIFIED").expect("UNSPECIFIED").to_owned();
            let others = words.values().filter(|value| value.number() != 0);
            let words_of =
                others.map(|value| value.name().strip_prefix(&prefix).expect("the prefix").to_owned());
            (words.name().to_owned(), words_of.collect())
        })
        .collect();
    for Listed { table, column, words } in listed {
        let named = enums.iter().filter(|(_, of_enum)| *of_enum == words).collect::<Vec<_>>();
        assert!(!named.is_empty(), "{table}.{column} has words that are no enum's: {words:?}");
    }
}

/// Whether an RPC only reads, by the contract, and ends by itself.
fn only_reads(rpc: &MethodDescriptor) -> bool {
    let options = rpc.options();
    let level = options.get_field_by_name("idempotency_level").expect("an option").into_owned();
    level == Value::EnumNumber(1) && !rpc.is_server_streaming()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_newer_version_are_passed_over_by_everything_that_reads() {
    let crm = Crm::start().await;
    let tenant = crm.tenant();
    let about = tenant.everything().await;
    let channel = ContactChannel::Email.into();
    let campaign = tenant.plan(Campaign { channel, ..planned("Mail") }).await.expect("a campaign");
    let said = event("a", &about.customer, CampaignEventKind::OptedOut);
    tenant.record(&campaign.id, &[said]).await.expect("recorded");
    let sql = crm.sql().await;
    let listed = listed(&sql).await;
    // The newer version has lists of its own.
    let checks = sql
        .texts(
            "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
             WHERE contype = 'c' AND connamespace = 'public'::regnamespace",
        )
        .await;
    for check in &checks {
        sql.run(check).await;
    }
    // All consents of a customer get the same channel, and each channel has one.
    sql.run(
        "DELETE FROM customer_consents a USING customer_consents b
         WHERE a.tenant_id = b.tenant_id AND a.customer_id = b.customer_id AND a.channel > b.channel",
    )
    .await;
    for Listed { table, column, .. } in &listed {
        sql.run(&format!("UPDATE {table} SET {column} = 'MADE_UP'")).await;
    }
    sql.run(
        "UPDATE conversation_analyses SET sentiment = '{\"label\": \"MADE_UP\", \"trend\": \"MADE_UP\"}',
             objections = '[{\"kind\": \"MADE_UP\", \"status\": \"MADE_UP\", \"evidence\": \"\"}]';
         UPDATE conversation_messages SET actions = '[{\"name\": \"x\", \"status\": \"MADE_UP\"}]'",
    )
    .await;
    let reads: Vec<_> = rpcs().into_iter().filter(only_reads).collect();
    assert!(reads.len() >= 25, "{} RPCs read", reads.len());
    for rpc in reads {
        let is_list = rpc.name().starts_with("List");
        let asked = if is_list { whole_list(&rpc, &about) } else { request(&rpc, &about) };
        let answer = call(&tenant, &asked, &rpc).await;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {error:?}", rpc.name()));
        if is_list {
            let rows = answer.fields().find_map(|(_, value)| value.as_list().map(<[_]>::len));
            assert!(rows.is_some_and(|rows| rows > 0), "{} lists what is there", rpc.name());
        }
    }
    let mut watch = tenant.watch(&about.conversation, BEGINNING).await;
    watch.until_messages(1).await;
    assert_eq!(watch.log.messages[0].role, 0);

    // A change that would lose the word is left to a replica that knows it.
    let change = Customer { id: about.customer.clone(), city: "Bonn".to_owned(), ..Default::default() };
    let refused = tenant.update(change, &[]).await.expect_err("its status is not known here");
    refused.is(Code::Unavailable, "NEWER_VERSION");
    let change = Conversation { id: about.conversation, outcome_notes: "x".to_owned(), ..Default::default() };
    tenant.revise(change, &[]).await.expect_err("nor is this").is(Code::Unavailable, "NEWER_VERSION");
    assert_eq!(sql.texts("SELECT DISTINCT status FROM customers").await, ["MADE_UP"], "nothing was lost");
}
