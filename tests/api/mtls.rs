//! Client certificates as credentials: what they grant, and their names in the audit log.

use std::sync::Arc;

use crm_backend::auth::Authenticator;
use crm_backend::config::{ClientAuth, TlsConfig};
use crm_backend::connection::Tls;
use crm_backend::pb::{AccessScope, AuditOutcome};
use crm_testkit::certificates::{Ca, Files};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::support::credentials::{self, bounds};
use crate::support::customers::named;
use crate::support::dial::{Dialer, NAME};
use crate::support::{Crm, Refusal, Settings, Tenant};

/// The file with the grants of certificates.
const PRINCIPALS: &str = "principals.json";

/// A service that accepts certificates and API keys.
struct Mutual {
    crm: Crm,
    ca: Ca,
    authenticator: Authenticator,
    directory: TempDir,
}

impl Mutual {
    async fn start(principals: &Value) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ca = Ca::generate();
        let files = Files::write(directory.path(), &ca, NAME);
        let tls = TlsConfig {
            tls_cert: Some(files.certificate),
            tls_key: Some(files.key),
            tls_client_ca: Some(files.client_ca),
            tls_client_auth: Some(ClientAuth::Optional),
        };
        let tls = Tls::load(&tls).expect("good files").expect("a certificate");
        let file = directory.path().join(PRINCIPALS);
        std::fs::write(&file, principals.to_string()).expect("a file");
        let file = file.to_str().expect("a path of letters");
        let tls_files = ["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"];
        let modes = ["--auth", "mtls,api-key", "--mtls-principals", file];
        let auth = credentials::config(&[&modes[..], &tls_files].concat());
        let authenticator = Authenticator::open(&auth, bounds()).await.expect("good settings");
        let settings = Settings {
            tls: Some(Arc::new(tls)),
            authenticator: authenticator.clone(),
            ..Settings::default()
        };
        Self { crm: Crm::with(settings).await, ca, authenticator, directory }
    }

    /// Returns the tenant, for a client with a certificate of this name, or without one.
    async fn shown(&self, tenant: &Tenant, name: Option<&str>) -> Tenant {
        let identity = name.map(|name| self.ca.sign(name));
        let dialer = Dialer::tls(self.crm.address(), self.ca.client(identity.as_ref()));
        tenant.over(dialer.channel().await.expect("a connection"))
    }

    /// Writes the file again, and makes the service reload it.
    fn grant(&self, principals: &Value) {
        std::fs::write(self.directory.path().join(PRINCIPALS), principals.to_string()).expect("a file");
        self.authenticator.reload().expect("a good file");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_grants_what_the_file_says_and_its_holder_is_in_the_log() {
    let all = json!(["*"]);
    let mutual = Mutual::start(&json!({
        "agent.example": {"tenants": all, "scopes": ["write"]},
        "reader.example": {"tenants": all, "scopes": ["read"]},
        "auditor.example": {"tenants": all, "scopes": ["admin"]},
    }))
    .await;
    let tenant = mutual.crm.tenant();
    let agent = mutual.shown(&tenant, Some("agent.example")).await;
    agent.customer("Zoe").await;
    let reader = mutual.shown(&tenant, Some("reader.example")).await;
    let refused = reader.create(named("Zoe")).await.expect_err("it may only read");
    refused.is(Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    let stranger = mutual.shown(&tenant, Some("stranger.example")).await;
    stranger.create(named("Zoe")).await.expect_err("unknown").is(Code::Unauthenticated, "CREDENTIAL_INVALID");
    let nobody = mutual.shown(&tenant, None).await;
    nobody.create(named("Zoe")).await.expect_err("nobody").is(Code::Unauthenticated, "CREDENTIAL_REQUIRED");

    let auditor = mutual.shown(&tenant, Some("auditor.example")).await;
    let event = auditor.event_of_error(&refused).await;
    assert_eq!((event.principal.as_str(), event.outcome()), ("cert:reader.example", AuditOutcome::Failed));
    let events = auditor.events_of("crm.v1.CustomerService/CreateCustomer").await;
    let who: Vec<_> = events.iter().map(|event| event.principal.as_str()).collect();
    assert_eq!(who, ["cert:reader.example", "cert:agent.example"], "whoever has no right leaves no event");
    let error = agent.audit_page(Default::default()).await.expect_err("it may only write");
    error.is(Code::PermissionDenied, "SCOPE_NOT_GRANTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_for_its_tenants_until_the_file_says_otherwise() {
    let others = json!({"other.example": {"tenants": ["*"], "scopes": ["read"]}});
    let mutual = Mutual::start(&others).await;
    let (ana, ben) = (mutual.crm.tenant(), mutual.crm.tenant());
    let grants =
        |scopes: &[&str]| json!({"agent.example": {"tenants": [ana.id.to_string()], "scopes": scopes}});
    mutual.grant(&grants(&["read", "write"]));
    let agent = mutual.shown(&ana, Some("agent.example")).await;
    agent.customer("Zoe").await;
    let other = mutual.shown(&ben, Some("agent.example")).await;
    let error = other.create(named("Zoe")).await.expect_err("not its tenant");
    error.is(Code::PermissionDenied, "TENANT_NOT_GRANTED");
    mutual.grant(&grants(&["read"]));
    let error = agent.create(named("Zoe")).await.expect_err("no longer");
    error.is(Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    mutual.grant(&others);
    agent.create(named("Zoe")).await.expect_err("gone").is(Code::Unauthenticated, "CREDENTIAL_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_counts_before_the_certificate_of_its_connection() {
    let mutual =
        Mutual::start(&json!({"agent.example": {"tenants": ["*"], "scopes": ["read", "write", "admin"]}}))
            .await;
    let agent = mutual.shown(&mutual.crm.tenant(), Some("agent.example")).await;
    let (id, secret) = mutual.crm.key(&agent, [AccessScope::Write], None).await;
    let with_key = agent.with(&secret);
    let zoe = with_key.customer("Zoe").await;
    let error = with_key.get(&zoe.id).await.expect_err("the key may only write");
    error.is(Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    let events = agent.events_of("crm.v1.CustomerService/CreateCustomer").await;
    let who: Vec<_> = events.iter().map(|event| event.principal.clone()).collect();
    assert_eq!(who, [format!("key:{id}")]);
    agent.get(&zoe.id).await.expect("the certificate alone may read");
}
