//! What separates tenants in the database, checked before the service serves.

use diesel::sql_types::{Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// The oldest Postgres whose SQL the schema uses.
const OLDEST: i32 = 140_000;

/// Finds everything in the catalog that would let one tenant see another's rows, one sentence each.
///
/// Other policies for `crm_app` or for PUBLIC could allow what ours forbid, so ours must be the
/// only ones.
const BREACHES: &str = "
    SELECT 'The role crm_app does not exist; run crm-backend migrate.' AS problem
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'crm_app')
  UNION ALL
    SELECT 'The role crm_app is a superuser or bypasses row-level security: ALTER ROLE crm_app NOSUPERUSER NOBYPASSRLS.'
    FROM pg_roles WHERE rolname = 'crm_app' AND (rolsuper OR rolbypassrls)
  UNION ALL
    SELECT format('The user %s of DATABASE_URL may not become crm_app: GRANT crm_app TO %s.', current_user, current_user)
    FROM pg_roles WHERE rolname = 'crm_app'
      AND NOT CASE WHEN current_setting('server_version_num')::int >= 160000
        THEN pg_has_role(current_user, oid, 'SET') ELSE pg_has_role(current_user, oid, 'MEMBER') END
  UNION ALL
    SELECT format('The role crm_app owns the table %s, and policies do not bind an owner: ALTER TABLE … OWNER TO another role.', t.relname)
    FROM pg_class t JOIN pg_roles r ON r.oid = t.relowner
    WHERE t.relnamespace = 'public'::regnamespace AND r.rolname = 'crm_app'
  UNION ALL
    SELECT format('The table %s has no row-level security: ALTER TABLE %s ENABLE ROW LEVEL SECURITY.', t.relname, t.relname)
    FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'tenant_id'
    WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relrowsecurity
  UNION ALL
    SELECT format('The table %s lacks the policy tenant_isolation, or has others; run crm-backend migrate and drop the others.', t.relname)
    FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'tenant_id'
    WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p')
      AND (SELECT coalesce(array_agg(p.polname::text), '{}') FROM pg_policy p WHERE p.polrelid = t.oid) <> '{tenant_isolation}'
  UNION ALL
    SELECT format('The policy tenant_isolation of the table %s is not that of the migrations: DROP it, and CREATE it as they do.', t.relname)
    FROM pg_class t JOIN pg_policy p ON p.polrelid = t.oid AND p.polname = 'tenant_isolation'
    WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p')
      AND (NOT p.polpermissive OR p.polcmd <> '*'
        OR pg_get_expr(p.polqual, t.oid) IS DISTINCT FROM '(tenant_id = (NULLIF(current_setting(''app.tenant_id''::text, true), ''''::text))::uuid)'
        OR pg_get_expr(p.polwithcheck, t.oid) IS DISTINCT FROM pg_get_expr(p.polqual, t.oid))
";

#[derive(QueryableByName)]
struct Breach {
    #[diesel(sql_type = Text)]
    problem: String,
}

#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Text)]
    messages: String,
}

/// Returns what is wrong with the database, one sentence each that says what to do. Returns nothing
/// if it is safe to serve from it.
///
/// # Errors
///
/// The answer of Postgres to the questions.
pub async fn breaches(connection: &mut AsyncPgConnection) -> diesel::QueryResult<Vec<String>> {
    let server: Server = sql_query(
        "SELECT current_setting('server_version_num')::int AS version, current_setting('lc_messages') AS messages",
    )
    .get_result(connection)
    .await?;
    if server.version < OLDEST {
        let major = server.version / 10_000;
        return Ok(vec![format!("Postgres {major} is too old; use 14 or newer.")]);
    }
    if !speaks_english(&server.messages) {
        tracing::warn!(
            lc_messages = server.messages,
            "some errors of Postgres are known by their English text only; set lc_messages to C for this database"
        );
    }
    let breaches: Vec<Breach> = sql_query(BREACHES).load(connection).await?;
    Ok(breaches.into_iter().map(|breach| breach.problem).collect())
}

fn speaks_english(messages: &str) -> bool {
    messages.is_empty() || messages.starts_with("en") || messages.starts_with('C') || messages == "POSIX"
}
