//! Helpers for credentials.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Parser;
use crm_backend::auth::api_keys::{self, NewKey};
use crm_backend::auth::{AuthConfig, Authenticator, Bounds};
use crm_backend::config::{Cli, Command, McpSettings};
use crm_backend::identity::{Scopes, TenantId, Tenants};
use crm_backend::mcp::Entrance;
use crm_backend::pb::AccessScope;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::issuer::{SigningKey, jwks};
use super::{Crm, Settings, Tenant};

/// The issuer and the audience of tokens.
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const AUDIENCE: &str = "crm";

/// A bound that tests can wait for, and that a slow machine can keep.
pub(crate) const SOON: Duration = Duration::from_millis(500);

/// Returns bounds that tests can wait for.
pub(crate) fn bounds() -> Bounds {
    let jwks_refresh = Duration::from_secs(3600);
    Bounds { revocation: SOON, jwks_refresh, jwks_pause: Duration::ZERO, ..Bounds::default() }
}

/// Returns the settings of a server with these arguments.
pub(crate) fn config(arguments: &[&str]) -> AuthConfig {
    let arguments = ["crm-backend", "--jwt-leeway", "0"].iter().chain(arguments);
    match Cli::try_parse_from(arguments).expect("settings").into_command() {
        Command::Serve(config) => {
            config.check().expect("safe settings");
            config.auth
        }
        Command::Migrate(_) | Command::Recount(_) | Command::Keys(_) | Command::Mcp(_) => {
            panic!("serve is the default")
        }
    }
}

/// Returns settings for tokens, with the keys from these arguments.
pub(crate) fn tokens_by(arguments: &[&str]) -> AuthConfig {
    config(&[&["--auth", "jwt", "--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE], arguments].concat())
}

/// Returns the settings of a service that requires these credentials.
pub(crate) async fn asking(auth: &AuthConfig, bounds: Bounds) -> Settings {
    let authenticator = Authenticator::open(auth, bounds).await.expect("good settings");
    let entrance = Some(Entrance::new(&McpSettings::default(), auth, false));
    Settings { authenticator, entrance, ..Settings::default() }
}

/// Starts a service that requires keys.
pub(crate) async fn with_keys() -> Crm {
    Crm::with(asking(&config(&["--auth", "api-key"]), bounds()).await).await
}

/// Starts a service that requires tokens signed by this key.
pub(crate) async fn with_tokens(key: &SigningKey) -> Crm {
    let files = Files::new();
    let set = files.write("keys.json", jwks(&[key]));
    Crm::with(asking(&tokens_by(&["--jwt-jwks-file", &set]), bounds()).await).await
}

/// The files of a test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Writes a file, and returns its path.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("a path of letters").to_owned()
    }
}

/// Returns a time relative to now, in seconds since 1970.
pub(crate) fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("a near time") + seconds
}

/// Returns the claims of a token that grants these scopes for a tenant, for an hour.
pub(crate) fn claims(tenant: Uuid, scope: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "zoe", "exp": in_seconds(3600),
        "tenants": tenant.to_string(), "scope": scope,
    })
}

/// The same with another value for one claim; null removes it.
pub(crate) fn claims_but(tenant: Uuid, name: &str, value: Value) -> Value {
    let mut claims = claims(tenant, "read write");
    let all = claims.as_object_mut().expect("an object");
    match value {
        Value::Null => all.remove(name),
        value => all.insert(name.to_owned(), value),
    };
    claims
}

/// All scopes.
pub(crate) const ALL: [AccessScope; 3] = [AccessScope::Read, AccessScope::Write, AccessScope::Admin];

impl Crm {
    /// Creates a key for a tenant, and returns it with its id.
    pub(crate) async fn key(
        &self,
        tenant: &Tenant,
        scopes: impl IntoIterator<Item = AccessScope>,
        lifetime: Option<Duration>,
    ) -> (Uuid, String) {
        let id = TenantId::parse(&tenant.id.to_string()).expect("a tenant");
        let new = NewKey {
            name: "Zoë's worker".to_owned(),
            tenants: Tenants::Only([id].into()),
            scopes: Scopes::of(scopes),
            lifetime,
        };
        let mut connection = self.target().open_bare().await.expect("a connection");
        let (key, secret) = api_keys::create(&mut connection, &new).await.expect("a key");
        (key.id, secret.expose().to_owned())
    }

    /// Returns a new tenant, for a client with a key for it.
    pub(crate) async fn tenant_with_key(&self) -> Tenant {
        let tenant = self.tenant();
        let (_, secret) = self.key(&tenant, ALL, None).await;
        tenant.with(&secret)
    }

    /// Revokes a key.
    pub(crate) async fn revoke(&self, id: Uuid) {
        let mut connection = self.target().open_bare().await.expect("a connection");
        api_keys::revoke(&mut connection, id).await.expect("revoked").expect("a key");
    }
}
