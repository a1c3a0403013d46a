//! The walls in the database: properties that every table must have, future ones included.

use std::collections::BTreeMap;

use crm_backend::db::migrate;
use crm_testkit::{Row, Sql};

use crate::support::Crm;
use crate::support::citus::Citus;
use crate::support::postgres::Database;

/// Tables of the whole service, which no tenant can read.
const SHARED: [&str; 3] = ["__diesel_schema_migrations", "api_keys", "service_keys"];

/// Tables whose rows never change, so they have no columns for the time and the number of changes.
const APPEND_ONLY: &str = "'audit_events', 'campaign_events', 'interest_events', 'purchase_refunds'";

/// The beginning of every query here. An extension such as Citus has objects of its own, which are
/// left out.
const TABLES: &str = "WITH extended AS (SELECT objid FROM pg_depend WHERE deptype = 'e'), tables AS (
    SELECT c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relacl FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND c.relname NOT IN ('__diesel_schema_migrations', 'api_keys', 'service_keys'))";

async fn breaches(sql: &Sql, query: &str) -> Vec<String> {
    let rows = sql.rows(&format!("{TABLES} {query}")).await;
    rows.iter().map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" ")).collect()
}

async fn none(query: &str) {
    let database = Database::create().await;
    let found = breaches(&database.sql().await, query).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_but_the_services_own_is_looked_at() {
    let database = Database::create().await;
    let sql = database.sql().await;
    let all = sql.texts("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").await;
    let looked_at = breaches(&sql, "SELECT relname FROM tables").await;
    assert!(looked_at.len() >= 7);
    assert_eq!(looked_at.len() + SHARED.len(), all.len(), "{all:?}");
    assert!(SHARED.iter().all(|table| all.contains(&(*table).to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_has_the_columns_of_a_tenants_row() {
    none(&format!(
        "SELECT t.relname, w.name FROM tables t, (VALUES
             ('tenant_id', 'uuid', 'current_tenant()'), ('created_at', 'timestamp with time zone', 'now()'),
             ('updated_at', 'timestamp with time zone', 'now()'), ('revision', 'bigint', '1')) w (name, type, value)
         WHERE NOT (t.relname IN ({APPEND_ONLY}) AND w.name IN ('updated_at', 'revision')) AND NOT EXISTS (
             SELECT FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = t.oid AND a.attname = w.name AND a.attnotnull
               AND format_type(a.atttypid, a.atttypmod) = w.type
               AND pg_get_expr(d.adbin, d.adrelid) IN (w.value, '''' || w.value || '''::bigint'))"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_shows_the_service_one_tenant() {
    none(
        "SELECT t.relname, 'lacks row security, or forces it' FROM tables t
         WHERE NOT relrowsecurity OR relforcerowsecurity
         UNION ALL
         SELECT t.relname, 'has other policies: ' || coalesce(string_agg(p.polname, ' '), 'none') FROM tables t
         LEFT JOIN pg_policy p ON p.polrelid = t.oid GROUP BY t.relname
         HAVING coalesce(array_agg(p.polname::text), '{}') <> '{tenant_isolation}'
         UNION ALL
         SELECT t.relname, 'has a weaker policy: ' || pg_get_expr(p.polqual, p.polrelid) FROM tables t
         JOIN pg_policy p ON p.polrelid = t.oid
         WHERE p.polcmd <> '*' OR NOT p.polpermissive
            OR p.polroles <> ARRAY[(SELECT oid FROM pg_roles WHERE rolname = 'crm_app')]
            OR pg_get_expr(p.polqual, p.polrelid) <> pg_get_expr(p.polwithcheck, p.polrelid)
            OR pg_get_expr(p.polqual, p.polrelid) <>
               '(tenant_id = (NULLIF(current_setting(''app.tenant_id''::text, true), ''''::text))::uuid)'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_begins_with_the_tenant() {
    none(
        "SELECT t.relname, i.indexrelid::regclass::text FROM tables t JOIN pg_index i ON i.indrelid = t.oid
         JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
         LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
         WHERE a.attname IS DISTINCT FROM 'tenant_id' AND (i.indisunique OR m.amname = 'btree')
         UNION ALL
         SELECT t.relname, 'has no primary key' FROM tables t
         WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_foreign_key_stays_within_the_tenant() {
    none(
        "SELECT t.relname, k.conname FROM tables t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f'
         JOIN pg_attribute own ON own.attrelid = k.conrelid AND own.attnum = k.conkey[1]
         JOIN pg_attribute other ON other.attrelid = k.confrelid AND other.attnum = k.confkey[1]
         WHERE own.attname <> 'tenant_id' OR other.attname <> 'tenant_id' OR k.confdeltype <> 'a'
            OR NOT k.convalidated",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_is_planned_for_its_largest_tenant() {
    if Citus::is_another("what the planner is told of tenants is a setting") {
        return;
    }
    none(
        "SELECT t.relname FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'tenant_id'
         WHERE a.attoptions IS DISTINCT FROM '{n_distinct=1}'",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_has_a_comment() {
    none(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
           AND c.relname <> '__diesel_schema_migrations' AND col_description(c.oid, a.attnum) IS NULL
         UNION ALL
         SELECT c.relname, 'itself' FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
           AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relname <> '__diesel_schema_migrations'
           AND c.oid NOT IN (SELECT objid FROM extended)
           AND obj_description(c.oid, 'pg_class') IS NULL
         UNION ALL
         SELECT p.proname, 'itself' FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
           AND obj_description(p.oid, 'pg_proc') IS NULL",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_may_read_and_write_rows_and_nothing_else() {
    none(
        "SELECT c.relname, a.privilege_type, a.grantee::regrole::text FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner
           AND c.oid NOT IN (SELECT objid FROM extended)
           AND (a.grantee <> 'crm_app'::regrole OR a.is_grantable
                OR a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
                OR c.relname IN ('api_keys', 'service_keys', '__diesel_schema_migrations')
                OR (c.relkind = 'v' AND a.privilege_type <> 'SELECT'))
         UNION ALL
         SELECT t.relname, 'cannot be read', '' FROM tables t
         WHERE NOT has_table_privilege('crm_app', t.oid, 'SELECT')
           AND EXISTS (SELECT FROM aclexplode(t.relacl) a WHERE a.grantee = 'crm_app'::regrole)
         UNION ALL
         SELECT 'owns', d.classid::regclass::text, d.objid::text FROM pg_shdepend d
         WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = 'crm_app'::regrole AND d.deptype = 'o'
         UNION ALL
         SELECT 'is', r.rolname, 'too strong' FROM pg_roles r WHERE r.rolname = 'crm_app'
           AND (r.rolsuper OR r.rolbypassrls OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication
                OR (r.rolcanlogin AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')))
         UNION ALL
         SELECT 'is a member of', m.roleid::regrole::text, '' FROM pg_auth_members m
         WHERE m.member = 'crm_app'::regrole
         UNION ALL
         SELECT 'may create in', n.nspname, '' FROM pg_namespace n
         WHERE n.nspname = 'public' AND has_schema_privilege('crm_app', n.oid, 'CREATE')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_appended_to_cannot_be_changed_by_the_service() {
    none(&format!(
        "SELECT t.relname, coalesce(string_agg(a.privilege_type, ' ' ORDER BY a.privilege_type), 'nothing')
         FROM tables t LEFT JOIN LATERAL aclexplode(t.relacl) a ON a.grantee = 'crm_app'::regrole
         WHERE t.relname IN ({APPEND_ONLY}) GROUP BY t.relname
         HAVING array_agg(a.privilege_type ORDER BY a.privilege_type) IS DISTINCT FROM '{{INSERT,SELECT}}'
         UNION ALL
         SELECT 'missing', name FROM unnest(ARRAY[{APPEND_ONLY}]) AS name
         WHERE NOT EXISTS (SELECT FROM tables t WHERE t.relname = name)"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_that_would_not_run_on_a_distributed_postgres() {
    if Citus::is_another("what migrations make is the catalog") {
        return;
    }
    none(
        "SELECT 'a trigger', tgname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
         WHERE NOT g.tgisinternal
         UNION ALL
         SELECT 'a sequence, an own type or a rule', c.relname FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('S', 'c', 'm', 'f')
         UNION ALL
         SELECT 'an enum or a domain', y.typname FROM pg_type y
         WHERE y.typnamespace = 'public'::regnamespace AND y.typtype IN ('e', 'd', 'r', 'm')
         UNION ALL
         SELECT 'a function', p.proname FROM pg_proc p
         WHERE p.pronamespace = 'public'::regnamespace AND (p.proname <> 'current_tenant' OR p.prosecdef)
         UNION ALL
         SELECT 'an extension', e.extname FROM pg_extension e WHERE e.extname <> 'plpgsql'
         UNION ALL
         SELECT 'an identity column', a.attname FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid
         WHERE a.attidentity <> ''",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_refuses_a_database_whose_walls_have_a_hole() {
    let holes = [
        "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation ON conversations",
        "CREATE POLICY open ON conversation_messages USING (true)",
        "ALTER TABLE idempotency_keys OWNER TO crm_app",
        "CREATE TABLE new (tenant_id uuid NOT NULL)",
    ];
    let config = crate::support::service::defaults();
    for hole in holes {
        let database = Database::create().await;
        database.sql().await.run(hole).await;
        let opened = crm_backend::server::open(database.target(), &config.database).await;
        let Err(error) = opened else { panic!("served after {hole}") };
        assert!(error.to_string().contains("not safe"), "{error}");
    }
}

/// Returns everything that migrations create, as text.
async fn snapshot(sql: &Sql) -> Vec<Row> {
    sql.rows(
        "SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
                pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND c.relname <> '__diesel_schema_migrations'
         UNION ALL
         SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', ''
         FROM pg_constraint WHERE connamespace = 'public'::regnamespace
         UNION ALL
         SELECT 'policy', tablename, policyname, qual, with_check, roles::text, cmd FROM pg_policies
         UNION ALL
         SELECT 'grants', relname, relacl::text, relrowsecurity::text, '', '', obj_description(oid, 'pg_class')
         FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname <> '__diesel_schema_migrations'
         UNION ALL
         SELECT 'schema', nspname, nspacl::text, '', '', '', '' FROM pg_namespace WHERE nspname = 'public'
         ORDER BY 1, 2, 3, 4",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_down_and_up_again() {
    let database = Database::create().await;
    let sql = database.sql().await;
    let before = snapshot(&sql).await;
    let reverted = migrate::revert_all(&database.target()).await.expect("all go down");
    let left = sql.texts("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").await;
    assert_eq!(left, ["__diesel_schema_migrations"]);
    assert_eq!(
        sql.number("SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace").await,
        0
    );
    let applied = migrate::run(&database.target()).await.expect("all go up");
    assert_eq!(applied.len(), reverted);
    let after = snapshot(&sql).await;
    assert_eq!(after, before);
    assert_eq!(migrate::run(&database.target()).await.expect("nothing to do"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_migrate_at_once_take_turns() {
    let database = Database::create().await;
    migrate::revert_all(&database.target()).await.expect("all go down");
    let runs = (0..4).map(|_| {
        let target = database.target();
        async move { migrate::run(&target).await.expect("migrated").len() }
    });
    let applied = crate::support::at_once(runs).await;
    assert_eq!(applied.iter().filter(|count| **count > 0).count(), 1, "{applied:?}");
}

/// Returns the tables of schema.rs: their columns with types and documentation.
fn written() -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut table, mut comment) = (String::new(), String::new());
    for line in include_str!("../../src/db/schema.rs").lines().map(str::trim) {
        if let Some((name, _)) = line.strip_suffix(") {").and_then(|head| head.split_once(" (")) {
            table = name.to_owned();
            tables.insert(table.clone(), vec![std::mem::take(&mut comment)]);
        } else if let Some(text) = line.strip_prefix("/// ") {
            comment = text.to_owned();
        } else if line.contains(" -> ") {
            let columns = tables.get_mut(&table).expect("a column stands in a table");
            columns.push(format!("{line} {}", std::mem::take(&mut comment)));
        }
    }
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_rs_is_what_the_migrations_make() {
    let crm = Crm::start().await;
    let rows = crm
        .sql()
        .await
        .rows(
            "SELECT c.relname, obj_description(c.oid, 'pg_class'), a.attname, a.attnotnull::text,
                    col_description(c.oid, a.attnum), CASE y.typname
                      WHEN '_text' THEN 'Array<Nullable<Text>>'
                      WHEN '_uuid' THEN 'Array<Nullable<Uuid>>'
                      ELSE upper(left(y.typname, 1)) || substr(y.typname, 2) END
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             JOIN pg_type y ON y.oid = a.atttypid
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
               AND c.relname <> '__diesel_schema_migrations'
             ORDER BY c.relname, a.attnum",
        )
        .await;
    let mut there: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let [table, of_table, column, not_null, comment, kind] =
            <[_; 6]>::try_from(row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>())
                .expect("6");
        let kind = if not_null == "true" { kind } else { format!("Nullable<{kind}>") };
        let columns = there.entry(table).or_insert_with(|| vec![of_table]);
        columns.push(format!("{column} -> {kind}, {comment}"));
    }
    let mut written = written();
    // It has the columns of its table, which .ci/schema writes again without documentation.
    let view = written.remove("customer_list").expect("the view");
    let of_table = there["customers"].iter().skip(1);
    let of_table: Vec<_> =
        of_table.map(|column| column.split_inclusive(", ").next().expect("a column")).collect();
    assert_eq!(view[1..], of_table);
    assert_eq!(written, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_of_customers_has_all_their_columns() {
    let crm = Crm::start().await;
    let columns = async |relation: &str| {
        let select = format!(
            "SELECT attname FROM pg_attribute
             WHERE attrelid = '{relation}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        );
        crm.sql().await.texts(&select).await
    };
    assert_eq!(columns("customer_list").await, columns("customers").await);
}
