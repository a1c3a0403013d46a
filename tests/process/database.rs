//! A separately run Postgres: its schema, its users, its walls, its TLS.

use std::path::Path;

use crm_backend::db::Target;
use crm_testkit::cluster::{self, Database, as_user};
use crm_testkit::{Ended, Program, Scratch, Server, command, eventually, run, within};
use diesel_async::SimpleAsyncConnection;
use tonic::Code;
use uuid::Uuid;

use super::client::Client;
use super::scratch;

/// Runs `migrate` with the URL in the environment, as in deployments.
fn migrate(scratch: &Scratch, url: &str) -> Ended {
    let mut command = command(scratch, &["migrate"]);
    command.env("DATABASE_URL", url);
    Program::spawn(command).wait()
}

/// Runs a start that is refused because of the database.
fn refusal(scratch: &Scratch, url: &str) -> Ended {
    run(scratch, &["--listen", "127.0.0.1:0", "--database-url", url])
}

/// Returns the number of migrations.
fn migrations() -> usize {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    std::fs::read_dir(files).expect("the migrations").count()
}

/// Creates a row of one tenant, and looks for it as another tenant.
async fn keeps_tenants_apart(server: &Server) {
    let mut ours = Client::connect_as(server.address, Uuid::new_v4()).await;
    let mut theirs = Client::connect_as(server.address, Uuid::new_v4()).await;
    let customer = ours.create_customer("Café Zoë").await;
    let refused = theirs.get_customer(&customer.id).await.expect_err("of another tenant");
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    assert!(theirs.list_customers().await.is_empty());
    assert_eq!(ours.list_customers().await, [customer]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn migrate_says_what_it_did_and_serve_works_after_it() {
    let scratch = scratch();
    let database = Database::new().await;
    let ended = migrate(&scratch, &database.url());
    ended.succeeded();
    assert!(ended.stdout.starts_with("brought up to date: "), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches(", ").count() + 1, migrations(), "{}", ended.stdout);
    assert!(ended.stdout.trim_end().ends_with(database.name()), "{}", ended.stdout);

    let again = migrate(&scratch, &database.url());
    again.succeeded();
    assert!(again.stdout.starts_with("up to date at "), "{}", again.stdout);

    let server = Server::start_with(&scratch, &["--database-url", &database.url()]);
    keeps_tenants_apart(&server).await;
    let ended = server.terminate();
    ended.succeeded();
    assert!(ended.stdout.contains("schema     up to date\n"), "{}", ended.stdout);
    for said in [ended.stdout, ended.stderr] {
        assert!(!said.contains(&database.url()) && !said.contains("postgres://"), "{said}");
    }
    assert!(scratch.leftovers().is_empty() && !scratch.data_dir().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn replicas_that_start_together_on_an_empty_database_all_serve() {
    let scratch = scratch();
    let database = Database::new().await;
    let url = database.url();
    let arguments = ["--listen", "127.0.0.1:0", "--database-url", &url];
    let programs = [(); 3].map(|()| Program::spawn(command(&scratch, &arguments)));
    let [one, two, three] = programs.map(Server::of);
    let tenant = Uuid::new_v4();
    let customer = Client::connect_as(one.address, tenant).await.create_customer("Café Zoë").await;
    for server in [&two, &three] {
        let found = Client::connect_as(server.address, tenant).await.get_customer(&customer.id).await;
        assert_eq!(found.expect("a customer"), customer);
    }
    for server in [one, two, three] {
        server.terminate().succeeded();
    }
}

#[test]
fn migrate_makes_the_services_own_postgres_as_well() {
    let scratch = scratch();
    let data_dir = scratch.data_dir();
    let ended = run(&scratch, &["migrate", "--data-dir", data_dir.to_str().expect("letters")]);
    ended.succeeded();
    let server = Server::start(&scratch);
    let ended = server.terminate();
    ended.succeeded();
    assert!(ended.stdout.contains("schema     up to date\n"), "{}", ended.stdout);
}

/// The command must not fail if its output is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn migrate_succeeds_when_nobody_reads_what_it_says() {
    let scratch = scratch();
    let database = Database::new().await;
    let mut migrate = command(&scratch, &["migrate", "--database-url", &database.url()]);
    let mut child = migrate.spawn().expect("the program starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("an end");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// As in production: the owner of the database, without superuser rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_owner_without_superuser_rights_migrates_and_serves() {
    let scratch = scratch();
    let cluster = cluster::own();
    cluster::execute(cluster.url(), "CREATE ROLE owner LOGIN CREATEROLE PASSWORD 'secret'").await;
    cluster::execute(cluster.url(), "CREATE DATABASE owned OWNER owner").await;
    let url = as_user(&cluster.url_of("owned"), "owner", "secret");
    migrate(&scratch, &url).succeeded();
    let server = Server::start_with(&scratch, &["--database-url", &url]);
    keeps_tenants_apart(&server).await;
    server.terminate().succeeded();
}

/// The same owner may not create roles, but was granted the one that it needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_owner_who_was_given_the_role_migrates_and_serves() {
    let scratch = scratch();
    let cluster = cluster::own();
    cluster::execute(cluster.url(), "CREATE ROLE owner LOGIN PASSWORD 'secret'").await;
    cluster::execute(cluster.url(), "CREATE DATABASE owned OWNER owner").await;
    let url = as_user(&cluster.url_of("owned"), "owner", "secret");
    migrate(&scratch, &url).refused(&[
        "/owned",
        "DATABASE_URL",
        "create the role crm_app or be a member of it",
    ]);
    cluster::execute(cluster.url(), "CREATE ROLE crm_app NOLOGIN NOINHERIT").await;
    cluster::execute(cluster.url(), "GRANT crm_app TO owner").await;
    migrate(&scratch, &url).succeeded();
    let server = Server::start_with(&scratch, &["--database-url", &url]);
    keeps_tenants_apart(&server).await;
    server.terminate().succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_user_without_rights_is_told_which_it_needs() {
    let scratch = scratch();
    let database = Database::new().await;
    let user = format!("poor_{}", Uuid::new_v4().simple());
    // The default of newer versions of Postgres.
    database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    database.execute(&format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'")).await;
    let poor = as_user(&database.url(), &user, "secret");
    let wrong = as_user(&database.url(), &user, "hunter2");
    let place = format!("127.0.0.1:{}", database.port());
    for ended in [migrate(&scratch, &poor), refusal(&scratch, &poor)] {
        ended.refused(&[&place, database.name(), "DATABASE_URL must own the schema"]);
    }
    let ended = refusal(&scratch, &wrong);
    let words = ended.refused(&[&place, &user, "password", "DATABASE_URL"]);
    assert!(!words.contains("hunter2"), "{words}");

    // If another user migrates the schema, this user still may not serve from it.
    migrate(&scratch, &database.url()).succeeded();
    refusal(&scratch, &poor).refused(&[&place, "DATABASE_URL"]);
    database.execute(&format!("DROP OWNED BY {user}; DROP ROLE {user}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_does_not_exist_is_named() {
    let scratch = scratch();
    let database = Database::new().await;
    let url = database.url().replace(database.name(), "nowhere");
    refusal(&scratch, &url).refused(&["/nowhere", "does not exist", "DATABASE_URL"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_of_another_encoding_is_refused_with_what_to_do() {
    let scratch = scratch();
    let database = Database::new().await;
    let latin = format!("{}_latin", database.name());
    database
        .execute(&format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"))
        .await;
    let url = database.url().replace(database.name(), &latin);
    for ended in [migrate(&scratch, &url), refusal(&scratch, &url)] {
        ended.refused(&[&latin, "LATIN1", "ENCODING 'UTF8'", "DATABASE_URL"]);
    }
    database.execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await;
}

/// As in libpq and its documentation: `%20` is a space.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn options_of_the_url_reach_postgres_as_they_were_written() {
    let scratch = scratch();
    let database = Database::new().await;
    let url = |options: &str| format!("{}?sslmode=prefer&options={options}", database.url());
    migrate(&scratch, &url("-c%20lock_timeout%3D60s")).succeeded();
    migrate(&scratch, &url("-c%20lock_timeout%3Dsoon")).refused(&["lock_timeout", "soon"]);
}

/// A session lock would be left behind by a pooler that moves clients between sessions, without any
/// sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn migrations_wait_for_their_turn_and_for_locks_and_say_so() {
    let scratch = scratch();
    let database = Database::new().await;
    let table = "CREATE TABLE __diesel_schema_migrations \
                 (version varchar(50) PRIMARY KEY, run_on timestamp NOT NULL DEFAULT now())";
    database.execute(table).await;
    let other = Target::parse(&database.url()).expect("a URL");
    let mut turn = within(other.open_bare()).await.expect("a connection");
    within(turn.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(6517357)")).await.expect("its turn");
    let mut lock = within(other.open_bare()).await.expect("a connection");
    let holds = "BEGIN; LOCK TABLE __diesel_schema_migrations IN SHARE MODE";
    within(lock.batch_execute(holds)).await.expect("a lock");

    let arguments = ["migrate", "--database-url", &database.url()];
    let program = Program::spawn(command(&scratch, &arguments));
    eventually("it waits for its turn", || {
        program.stderr().contains("waits for another replica's migrations")
    });
    within(turn.batch_execute("ROLLBACK")).await.expect("an end");
    eventually("it waits for a lock", || program.stderr().contains("others hold a lock"));
    within(lock.batch_execute("ROLLBACK")).await.expect("an end");
    program.wait().succeeded();
    // It fails if the lock was left behind.
    within(lock.batch_execute("BEGIN; DO 'BEGIN ASSERT pg_try_advisory_xact_lock(6517357); END'; ROLLBACK"))
        .await
        .expect("the turn is over");
}

/// Breaks a wall of a migrated database, and expects a refusal that names it.
async fn refuses_after(sql: &str, mentions: &[&str]) {
    let scratch = scratch();
    let database = Database::new().await;
    migrate(&scratch, &database.url()).succeeded();
    database.execute(sql).await;
    refusal(&scratch, &database.url()).refused(&[&[database.name()], mentions].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_table_without_row_level_security_is_not_served_from() {
    let sql = "ALTER TABLE customers DISABLE ROW LEVEL SECURITY";
    refuses_after(sql, &["customers", "ALTER TABLE customers ENABLE ROW LEVEL SECURITY"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_table_with_another_policy_is_not_served_from() {
    let sql = "CREATE POLICY open_house ON conversations USING (true)";
    refuses_after(sql, &["conversations", "polic"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_table_without_its_policy_is_not_served_from() {
    let sql = "DROP POLICY tenant_isolation ON conversation_messages";
    refuses_after(sql, &["conversation_messages", "tenant_isolation"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_table_whose_policy_lets_everything_through_is_not_served_from() {
    let sql = "ALTER POLICY tenant_isolation ON customers USING (true) WITH CHECK (true)";
    refuses_after(sql, &["customers", "tenant_isolation"]).await;
}

/// Roles belong to the whole cluster, so this test has a cluster of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_role_that_bypasses_the_policies_is_not_served_with() {
    let scratch = scratch();
    let cluster = cluster::own();
    migrate(&scratch, cluster.url()).succeeded();
    for (sql, undo) in [("BYPASSRLS", "NOBYPASSRLS"), ("SUPERUSER", "NOSUPERUSER")]
        .map(|(sql, undo)| (format!("ALTER ROLE crm_app {sql}"), format!("ALTER ROLE crm_app {undo}")))
    {
        cluster::execute(cluster.url(), &sql).await;
        refusal(&scratch, cluster.url()).refused(&["crm_app", "NOSUPERUSER NOBYPASSRLS"]);
        cluster::execute(cluster.url(), &undo).await;
    }
    Server::start_with(&scratch, &["--database-url", cluster.url()]).terminate().succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sslmode_is_obeyed_where_postgres_has_no_tls() {
    let scratch = scratch();
    let database = Database::new().await;
    let url = |mode: &str| format!("{}?sslmode={mode}", database.url());
    for mode in ["require", "verify-ca", "verify-full"] {
        refusal(&scratch, &url(mode)).refused(&["TLS", "DATABASE_URL"]);
    }
    refusal(&scratch, &url("perhaps")).refused(&["sslmode", "verify-full"]);
    for mode in ["prefer", "disable"] {
        migrate(&scratch, &url(mode)).succeeded();
    }
    let server = Server::start_with(&scratch, &["--database-url", &url("prefer")]);
    keeps_tenants_apart(&server).await;
    server.terminate().succeeded();
}
