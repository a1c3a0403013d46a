//! Keys of tokens that are added and removed: in files, and behind URLs.

use std::time::Duration;

use crm_backend::auth::{Authenticator, Bounds};
use tonic::{Code, Status};

use crate::support::credentials::{Files, bounds, claims, tokens_by};
use crate::support::issuer::{Published, SigningKey, jwks};
use crate::support::{Crm, Refusal, Settings, Tenant, eventually};

async fn crm(authenticator: &Authenticator) -> Crm {
    Crm::with(Settings { authenticator: authenticator.clone(), ..Settings::default() }).await
}

async fn call(tenant: &Tenant, key: &SigningKey) -> Result<(), Status> {
    call_with(tenant, &key.sign(&claims(tenant.id, "read"))).await
}

async fn call_with(tenant: &Tenant, token: &str) -> Result<(), Status> {
    tenant.with(token).list(Default::default()).await.map(drop)
}

/// Creates an authenticator for a set behind a URL, which trusts its certificate.
async fn following(published: &Published, bounds: Bounds) -> Authenticator {
    let files = Files::new();
    let ca = files.write("ca.pem", &published.ca);
    let config = tokens_by(&["--jwt-jwks-url", &published.url(), "--jwt-jwks-ca", &ca]);
    Authenticator::open(&config, bounds).await.expect("keys")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_read_again_brings_keys_and_takes_them_back() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::ed25519("new"));
    let files = Files::new();
    let set = files.write("keys.json", jwks(&[&old]));
    let authenticator =
        Authenticator::open(&tokens_by(&["--jwt-jwks-file", &set]), bounds()).await.expect("keys");
    let crm = crm(&authenticator).await;
    let tenant = crm.tenant();
    let token = old.sign(&claims(tenant.id, "read"));
    call_with(&tenant, &token).await.expect("granted");
    call(&tenant, &new).await.expect_err("not known yet").is(Code::Unauthenticated, "CREDENTIAL_INVALID");

    files.write("keys.json", jwks(&[&old, &new]));
    authenticator.reload().expect("a good file");
    call_with(&tenant, &token).await.expect("its key is still there");
    call(&tenant, &new).await.expect("known now");

    files.write("keys.json", jwks(&[&new]));
    authenticator.reload().expect("a good file");
    let refused = call_with(&tenant, &token).await.expect_err("also though it was verified before");
    refused.is(Code::Unauthenticated, "CREDENTIAL_INVALID");
    call(&tenant, &new).await.expect("still there");

    for bad in ["", "{}", r#"{"keys": []}"#] {
        files.write("keys.json", bad);
        let why = authenticator.reload().expect_err("no keys");
        assert!(why.contains("--jwt-jwks-file") && why.contains(&set), "{why}");
        call(&tenant, &new).await.expect("the last good keys are kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_published_later_is_found_by_the_first_token_that_names_it() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let published = Published::new(&jwks(&[&old])).await;
    let authenticator = following(&published, bounds()).await;
    assert_eq!(published.requests(), 1, "at the start");
    let crm = crm(&authenticator).await;
    let tenant = crm.tenant();
    call(&tenant, &old).await.expect("granted");
    assert_eq!(published.requests(), 1, "keys are kept");
    published.publish(&jwks(&[&old, &new]));
    call(&tenant, &new).await.expect("looked for and found");
    assert_eq!(published.requests(), 2);
    call(&tenant, &old).await.expect("still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_made_up_are_not_looked_for_again_and_again() {
    let key = SigningKey::es256("1");
    let published = Published::new(&jwks(&[&key])).await;
    let seldom = Bounds { jwks_pause: Duration::from_secs(3600), ..bounds() };
    let authenticator = following(&published, seldom).await;
    let crm = crm(&authenticator).await;
    let tenant = crm.tenant();
    for number in 0..10 {
        let stranger = SigningKey::es256(&number.to_string().repeat(8));
        let refused = call(&tenant, &stranger).await.expect_err("nobody's");
        refused.is(Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
    call(&tenant, &key).await.expect("granted");
    assert_eq!(published.requests(), 1, "the keys were read a moment ago");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_published_no_more_is_forgotten_in_time() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let published = Published::new(&jwks(&[&old])).await;
    let often = Bounds { jwks_refresh: Duration::from_millis(50), ..bounds() };
    let authenticator = following(&published, often).await;
    let crm = crm(&authenticator).await;
    let tenant = crm.tenant();
    let token = old.sign(&claims(tenant.id, "read"));
    call_with(&tenant, &token).await.expect("granted");
    published.publish(&jwks(&[&new]));
    eventually("the token is refused", || async { call_with(&tenant, &token).await.is_err() }).await;
    call(&tenant, &new).await.expect("granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_keys_are_kept_while_there_are_no_others() {
    let (key, late) = (SigningKey::es256("1"), SigningKey::es256("late"));
    let published = Published::new(&jwks(&[&key])).await;
    let often =
        Bounds { jwks_refresh: Duration::from_millis(20), jwks_pause: Duration::from_millis(20), ..bounds() };
    let authenticator = following(&published, often).await;
    let crm = crm(&authenticator).await;
    let tenant = crm.tenant();
    for broken in [None, Some("nonsense"), Some(r#"{"keys": []}"#)] {
        match broken {
            None => published.break_down(),
            Some(set) => published.publish(set),
        }
        let asked = published.requests();
        eventually("it was asked again", || async { published.requests() > asked + 1 }).await;
        call(&tenant, &key).await.expect("granted");
    }
    published.publish(&jwks(&[&key, &late]));
    eventually("it is asked on", || async { call(&tenant, &late).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_only_read_from_who_can_be_trusted() {
    let key = SigningKey::es256("1");
    let (published, other) = (Published::new(&jwks(&[&key])).await, Published::new(&jwks(&[&key])).await);
    let plain = Published::in_plain_text(&jwks(&[&key])).await;
    let files = Files::new();
    let strange = files.write("other.pem", &other.ca);
    let nonsense = files.write("nonsense.pem", "nonsense");
    let url = published.url();
    let refused = async |arguments: &[&str], mention: &str| {
        let why = Authenticator::open(&tokens_by(arguments), bounds()).await.expect_err(mention);
        assert!(why.contains(mention), "{mention:?} is not in: {why}");
    };
    refused(&["--jwt-jwks-url", &url], "--jwt-jwks-ca").await;
    refused(&["--jwt-jwks-url", &url, "--jwt-jwks-ca", &strange], "--jwt-jwks-ca").await;
    refused(&["--jwt-jwks-url", &url, "--jwt-jwks-ca", &nonsense], "no certificate").await;
    refused(&["--jwt-jwks-url", "http://issuer.example/keys"], "https://").await;
    refused(&["--jwt-jwks-url", "ftp://127.0.0.1/keys"], "https://").await;
    refused(&["--jwt-jwks-url", "keys"], "is no URL").await;
    assert_eq!(published.requests(), 0);
    let by_loopback = tokens_by(&["--jwt-jwks-url", &plain.url()]);
    Authenticator::open(&by_loopback, bounds()).await.expect("nobody sits in between");
    plain.break_down();
    refused(&["--jwt-jwks-url", &plain.url()], "500").await;
    plain.publish(r#"{"keys": []}"#);
    refused(&["--jwt-jwks-url", &plain.url()], "no key").await;
}
