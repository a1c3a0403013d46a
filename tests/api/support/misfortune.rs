//! Causes every error that a statement can have: a customer whose owner is an SQLSTATE, or a message whose content is
//! one, gets this error when it is inserted.

use crm_testkit::Sql;

use super::citus::Citus;

/// A word in every text of Postgres that could contain a value.
pub(crate) const CANARY: &str = "canary";

/// The errors, on every node that has rows. If possible, Postgres fails by itself; otherwise its message is raised.
/// The sequence counts attempts, because a rollback does not undo it.
const MISFORTUNES: &str = r#"
CREATE SEQUENCE misfortunes;
SELECT nextval('misfortunes');
CREATE TABLE narrow (text varchar(1));
CREATE FUNCTION befall(what text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF what !~ '^[0-9A-Z]{5}( |$)' THEN RETURN; END IF;
    PERFORM nextval('misfortunes');
    CASE what
    WHEN '08006 pgbouncer' THEN RAISE 'server closed the connection unexpectedly' USING ERRCODE = '08006';
    WHEN '08P01 pgbouncer' THEN RAISE 'query_wait_timeout' USING ERRCODE = '08P01';
    WHEN '57P01' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10);
    WHEN '57P02' THEN
        RAISE 'terminating connection because of crash of another server process' USING ERRCODE = '57P02';
    WHEN '57P03' THEN RAISE 'the database system is shutting down' USING ERRCODE = '57P03';
    WHEN '53300' THEN RAISE 'too many connections for role "canary"' USING ERRCODE = '53300';
    WHEN '53300 reserved' THEN
        RAISE 'remaining connection slots are reserved for roles with the SUPERUSER attribute'
            USING ERRCODE = '53300';
    WHEN '53100' THEN
        RAISE 'could not extend file "base/1/canary": No space left on device' USING ERRCODE = '53100';
    WHEN '53100 partly' THEN
        RAISE 'could not extend file "base/1/canary": wrote only 4096 of 8192 bytes at block 7'
            USING ERRCODE = '53100', HINT = 'Check free disk space.';
    WHEN '53200' THEN
        RAISE 'out of memory' USING ERRCODE = '53200', DETAIL = 'Failed on request of size 9 for "canary".';
    WHEN '58030' THEN RAISE 'could not write to file "canary": Input/output error' USING ERRCODE = '58030';
    WHEN 'XX000 disk' THEN
        RAISE 'could not open file "base/1/canary": Read-only file system' USING ERRCODE = 'XX000';
    WHEN '57014' THEN RAISE 'canceling statement due to statement timeout' USING ERRCODE = '57014';
    WHEN '57014 cancelled' THEN PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(10);
    WHEN '40001' THEN RAISE 'could not serialize access: "canary"' USING ERRCODE = '40001';
    WHEN '40P01' THEN RAISE 'deadlock detected' USING ERRCODE = '40P01', DETAIL = 'canary';
    WHEN '55P03' THEN RAISE 'canceling statement due to lock timeout' USING ERRCODE = '55P03';
    WHEN '55P03 nowait' THEN RAISE 'could not obtain lock on row in relation "canary"' USING ERRCODE = '55P03';
    WHEN '22001' THEN INSERT INTO narrow VALUES ('canary');
    WHEN '22003' THEN PERFORM length(repeat('x', 40000))::smallint;
    WHEN '22003 text' THEN PERFORM repeat('9', 30)::bigint;
    WHEN '22021' THEN PERFORM convert_from('\xff', 'UTF8');
    WHEN '22P02' THEN PERFORM lower('CANARY')::uuid;
    WHEN '22P05' THEN PERFORM ('{"a": "canary\u0000"}'::json) ->> 'a';
    WHEN '22P05 conversion' THEN PERFORM convert_to('canary €', 'LATIN1');
    WHEN '23505' THEN
        RAISE 'duplicate key value violates unique constraint "canary"' USING ERRCODE = '23505',
            DETAIL = 'Key (canary) already exists.';
    WHEN '22012' THEN PERFORM 1 / (length(what) - 5);
    WHEN '42P01' THEN EXECUTE 'SELECT canary FROM nowhere';
    ELSE
    END CASE;
END $$;
CREATE FUNCTION befall_customer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM befall(NEW.owner);
    IF NEW.owner = '42501' THEN PERFORM text FROM narrow; END IF;
    IF NEW.owner = '42501 policy' THEN NEW.tenant_id := gen_random_uuid(); END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION befall_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM befall(NEW.content);
    IF NEW.content = '42501' THEN PERFORM text FROM narrow; END IF;
    IF NEW.content = '42501 policy' THEN NEW.tenant_id := gen_random_uuid(); END IF;
    RETURN NEW;
END $$;
"#;

/// The constraints and triggers that cause the errors.
const VICTIMS: [&str; 4] = [
    "ALTER TABLE customers ADD CONSTRAINT fortunate CHECK (owner <> '23514')",
    "ALTER TABLE conversation_messages ADD CONSTRAINT fortunate CHECK (content <> '23514')",
    "CREATE TRIGGER befall BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION befall_customer()",
    "CREATE TRIGGER befall BEFORE INSERT ON conversation_messages FOR EACH ROW EXECUTE FUNCTION befall_message()",
];

/// Installs the errors in a database on these nodes.
pub(crate) async fn prepare(nodes: &[Sql]) {
    for node in nodes {
        if Citus::is_there() {
            node.run("SET citus.enable_ddl_propagation = off").await;
        }
        node.run(MISFORTUNES).await;
    }
    let sql = nodes.last().expect("a node");
    if Citus::is_there() {
        sql.run("RESET citus.enable_ddl_propagation").await;
        sql.run("SET citus.enable_unsafe_triggers = on").await;
    }
    for victim in VICTIMS {
        sql.run(victim).await;
    }
}

/// Returns the number of errors so far.
pub(crate) async fn count(nodes: &[Sql]) -> i64 {
    let mut count = 0;
    for node in nodes {
        count += node.number("SELECT last_value FROM misfortunes").await;
    }
    count
}
