//! Tokens: which are accepted, and why others are refused.

use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;

use crate::support::credentials::{
    ISSUER, asking, bounds, claims, claims_but, in_seconds, tokens_by, with_tokens,
};
use crate::support::issuer::{SigningKey, base64, jwks};
use crate::support::{Crm, Refusal, Tenant, credentials};

/// Returns why a token may not list a tenant's customers; `None` if it may.
async fn refusal(tenant: &Tenant, token: &str) -> Option<String> {
    match tenant.with(token).list(Default::default()).await {
        Ok(_) => None,
        Err(error) => {
            let code = if error.reason().ends_with("_NOT_GRANTED") {
                Code::PermissionDenied
            } else {
                Code::Unauthenticated
            };
            assert_eq!(error.code(), code, "{error:?}");
            assert!(!error.message().contains(token), "{error:?}");
            Some(error.reason())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_signs_tokens_that_are_taken() {
    let keys = [SigningKey::rs256("rsa"), SigningKey::es256("p256"), SigningKey::ed25519("ed")];
    let files = credentials::Files::new();
    let set = files.write("keys.json", jwks(&[&keys[0], &keys[1], &keys[2]]));
    let crm = Crm::with(asking(&tokens_by(&["--jwt-jwks-file", &set]), bounds()).await).await;
    let tenant = crm.tenant();
    for key in &keys {
        let token = key.sign(&claims(tenant.id, "read"));
        for _ in 0..2 {
            assert_eq!(refusal(&tenant, &token).await, None);
        }
        // The last letter of a signature may have unused bits; one in the middle has none.
        let at = token.len() - 20;
        let flipped = if &token[at..=at] == "A" { "B" } else { "A" };
        let forged = format!("{}{flipped}{}", &token[..at], &token[at + 1..]);
        assert_eq!(refusal(&tenant, &forged).await.as_deref(), Some("CREDENTIAL_INVALID"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_signs_as_well_where_it_is_the_one_thing_that_does() {
    let secret = [7; 32];
    let files = credentials::Files::new();
    let file = files.write("secret", secret);
    let arguments = ["--jwt-algorithms", "HS256", "--jwt-secret-file", &file];
    let crm = Crm::with(asking(&tokens_by(&arguments), bounds()).await).await;
    let tenant = crm.tenant();
    let wanted = claims(tenant.id, "read");
    assert_eq!(refusal(&tenant, &SigningKey::hs256(&secret).sign(&wanted)).await, None);
    for other in [SigningKey::hs256(&[8; 32]), SigningKey::ed25519("secret")] {
        assert_eq!(refusal(&tenant, &other.sign(&wanted)).await.as_deref(), Some("CREDENTIAL_INVALID"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_in_a_pem_file_is_all_that_is_needed() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let files = credentials::Files::new();
    let pem = files.write("key.pem", pair.public_key_pem());
    let crm = Crm::with(asking(&tokens_by(&["--jwt-public-key", &pem]), bounds()).await).await;
    let tenant = crm.tenant();
    let key = SigningKey::ed25519_of("any", &pair.serialize_der());
    assert_eq!(refusal(&tenant, &key.sign(&claims(tenant.id, "read"))).await, None);
    let other = SigningKey::ed25519("any").sign(&claims(tenant.id, "read"));
    assert_eq!(refusal(&tenant, &other).await.as_deref(), Some("CREDENTIAL_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_wrong_in_one_thing_is_refused_for_it() {
    let key = SigningKey::es256("1");
    let crm = with_tokens(&key).await;
    let tenant = crm.tenant();
    let cases: [(&str, Value, Option<&str>); 22] = [
        ("iss", json!("https://other.example"), Some("CREDENTIAL_INVALID")),
        ("iss", Value::Null, Some("CREDENTIAL_INVALID")),
        ("iss", json!(7), Some("CREDENTIAL_INVALID")),
        ("aud", json!("other"), Some("CREDENTIAL_INVALID")),
        ("aud", json!(["other", "crm"]), None),
        ("aud", Value::Null, Some("CREDENTIAL_INVALID")),
        ("exp", json!(in_seconds(-2)), Some("CREDENTIAL_EXPIRED")),
        ("exp", json!(0), Some("CREDENTIAL_EXPIRED")),
        ("exp", Value::Null, Some("CREDENTIAL_INVALID")),
        ("exp", json!("tomorrow"), Some("CREDENTIAL_INVALID")),
        ("exp", json!(u64::MAX), Some("CREDENTIAL_INVALID")),
        ("nbf", json!(in_seconds(3600)), Some("CREDENTIAL_EXPIRED")),
        ("nbf", json!(in_seconds(-1)), None),
        ("nbf", json!("today"), Some("CREDENTIAL_INVALID")),
        ("sub", Value::Null, Some("CREDENTIAL_INVALID")),
        ("sub", json!(""), Some("CREDENTIAL_INVALID")),
        ("sub", json!("a\nb"), Some("CREDENTIAL_INVALID")),
        ("sub", json!("x".repeat(256)), Some("CREDENTIAL_INVALID")),
        ("tenants", json!(Uuid::new_v4()), Some("TENANT_NOT_GRANTED")),
        ("tenants", Value::Null, Some("TENANT_NOT_GRANTED")),
        ("scope", json!("write"), Some("SCOPE_NOT_GRANTED")),
        ("scope", Value::Null, Some("SCOPE_NOT_GRANTED")),
    ];
    for (name, value, reason) in cases {
        let token = key.sign(&claims_but(tenant.id, name, value.clone()));
        assert_eq!(refusal(&tenant, &token).await.as_deref(), reason, "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_and_scopes_may_be_lists_and_have_words_of_others() {
    let key = SigningKey::es256("1");
    let crm = with_tokens(&key).await;
    let tenant = crm.tenant();
    for (name, value) in [
        ("tenants", json!("*")),
        ("tenants", json!([Uuid::new_v4(), tenant.id, "other:tenant", 7])),
        ("tenants", json!(["*"])),
        ("scope", json!(["openid", "read"])),
        ("scope", json!("openid  read email")),
    ] {
        let token = key.sign(&claims_but(tenant.id, name, value.clone()));
        assert_eq!(refusal(&tenant, &token).await, None, "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_another_name_can_say_what_is_granted() {
    let key = SigningKey::es256("1");
    let files = credentials::Files::new();
    let set = files.write("keys.json", jwks(&[&key]));
    let names = ["--jwt-tenants-claim", "https://crm.example/tenants", "--jwt-scope-claim", "permissions"];
    let arguments = [&["--jwt-jwks-file", set.as_str()], names.as_slice()].concat();
    let crm = Crm::with(asking(&tokens_by(&arguments), bounds()).await).await;
    let tenant = crm.tenant();
    let token = key.sign(&json!({
        "iss": ISSUER, "aud": "crm", "sub": "zoe", "exp": in_seconds(60),
        "https://crm.example/tenants": [tenant.id], "permissions": ["read"],
    }));
    assert_eq!(refusal(&tenant, &token).await, None);
    let usual = key.sign(&claims(tenant.id, "read"));
    assert_eq!(refusal(&tenant, &usual).await.as_deref(), Some("TENANT_NOT_GRANTED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_cannot_choose_how_it_is_verified() {
    let (key, rsa) = (SigningKey::es256("1"), SigningKey::rs256("2"));
    let files = credentials::Files::new();
    let set = files.write("keys.json", jwks(&[&key, &rsa]));
    let crm = Crm::with(asking(&tokens_by(&["--jwt-jwks-file", &set]), bounds()).await).await;
    let tenant = crm.tenant();
    let wanted = claims(tenant.id, "read");
    // The public key, which is known to all, as the secret of HS256.
    let confused = |key: &SigningKey, kid| {
        SigningKey::hs256(&key.public_bytes()).sign_with(&json!({"alg": "HS256", "kid": kid}), &wanted)
    };
    let unsigned = format!("{}.{}.", base64(r#"{"alg":"none"}"#), base64(wanted.to_string()));
    let bad = [
        confused(&key, "1"),
        confused(&rsa, "2"),
        unsigned,
        key.sign_with(&json!({"alg": "none", "kid": "1"}), &wanted),
        key.sign_with(&json!({"alg": "RS256", "kid": "1"}), &wanted),
        key.sign_with(&json!({"alg": "RS256", "kid": "2"}), &wanted),
        key.sign_with(&json!({"alg": "ES384", "kid": "1"}), &wanted),
        key.sign_with(&json!({"alg": "ES256", "kid": "3"}), &wanted),
        key.sign_with(&json!({"alg": "ES256", "kid": "1", "crit": ["exp"]}), &wanted),
        key.sign_with(&json!({"kid": "1"}), &wanted),
        // A key of its own, inside the token.
        SigningKey::es256("1").sign_with(&json!({"alg": "ES256", "jwk": key.jwk()}), &wanted),
        "..".to_owned(),
        "eyJ".to_owned(),
    ];
    for token in bad {
        assert_eq!(refusal(&tenant, &token).await.as_deref(), Some("CREDENTIAL_INVALID"), "{token}");
    }
    let unnamed = key.sign_with(&json!({"alg": "ES256"}), &wanted);
    assert_eq!(refusal(&tenant, &unnamed).await, None, "there is one key that it can be");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_is_left_out_is_not_taken() {
    let (key, other) = (SigningKey::es256("1"), SigningKey::ed25519("2"));
    let files = credentials::Files::new();
    let set = files.write("keys.json", jwks(&[&key, &other]));
    let arguments = ["--jwt-jwks-file", &set, "--jwt-algorithms", "EdDSA"];
    let crm = Crm::with(asking(&tokens_by(&arguments), bounds()).await).await;
    let tenant = crm.tenant();
    assert_eq!(refusal(&tenant, &other.sign(&claims(tenant.id, "read"))).await, None);
    let refused = refusal(&tenant, &key.sign(&claims(tenant.id, "read"))).await;
    assert_eq!(refused.as_deref(), Some("CREDENTIAL_INVALID"));
}
