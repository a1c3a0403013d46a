use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

use super::*;
use crate::identity::TenantId;
use crate::pb::{AccessScope, ErrorReason};

const TENANT: &str = "01939a3c-7d4e-7000-8000-0123456789ab";

/// A certificate for these names, valid until the end of a year.
fn certificate(names: &[SanType], last_year: i32) -> PeerCertificate {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.to_vec();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 12, 31);
    let key = KeyPair::generate().expect("a key");
    PeerCertificate(params.self_signed(&key).expect("a certificate").der().clone())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("a URI"))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

fn one(name: &str, scopes: &str) -> String {
    format!(r#"{{"{name}": {{"tenants": ["{TENANT}"], "scopes": [{scopes}]}}}}"#)
}

fn refusal(admitted: Result<Admitted>) -> Option<ErrorReason> {
    admitted.err().map(|error| error.reason())
}

#[test]
fn a_certificate_grants_what_the_file_says_of_its_name() {
    for (san, name) in
        [(uri("spiffe://crm/Agent"), "spiffe://crm/Agent"), (dns("Agent.Internal"), "agent.internal")]
    {
        let file = file(&one(name, r#""write""#));
        let certificates = Certificates::open(file.path()).expect("a good file");
        let certificate = certificate(&[dns("other.internal"), san], 2999);
        for _ in 0..2 {
            let admitted = certificates.admit(&certificate).expect("known");
            assert_eq!(admitted.principal.name(), format!("cert:{name}"));
            let tenant = TenantId::parse(TENANT).expect("a tenant");
            assert!(admitted.principal.act(tenant, AccessScope::Write).is_ok());
            assert!(admitted.principal.act(tenant, AccessScope::Read).is_err());
        }
    }
}

#[test]
fn an_unknown_certificate_is_invalid_and_an_old_one_is_expired() {
    let file = file(&one("agent.internal", r#""read""#));
    let certificates = Certificates::open(file.path()).expect("a good file");
    for stranger in
        [certificate(&[dns("other.internal"), uri("agent:internal")], 2999), certificate(&[], 2999)]
    {
        assert_eq!(refusal(certificates.admit(&stranger)), Some(ErrorReason::CredentialInvalid));
    }
    let nonsense = PeerCertificate(vec![0x30, 0x03, 1, 2, 3].into());
    assert_eq!(refusal(certificates.admit(&nonsense)), Some(ErrorReason::CredentialInvalid));
    let old = certificate(&[dns("agent.internal")], 2021);
    assert_eq!(refusal(certificates.admit(&old)), Some(ErrorReason::CredentialExpired));
}

#[test]
fn a_name_whose_grant_changes_is_revoked_and_the_others_stay() {
    let both = |kept: &str, changed: &str| {
        format!(
            r#"{{"kept.internal": {{"tenants": ["*"], "scopes": ["{kept}"]}},
                "changed.internal": {{"tenants": ["*"], "scopes": ["{changed}"]}}}}"#
        )
    };
    let file = file(&both("read", "read"));
    let certificates = Certificates::open(file.path()).expect("a good file");
    let [kept, changed] = ["kept.internal", "changed.internal"].map(|name| certificate(&[dns(name)], 2999));
    let before = [&kept, &changed].map(|certificate| certificates.admit(certificate).expect("known"));
    std::fs::write(file.path(), both("read", "write")).expect("written");
    certificates.reload().expect("a good file");
    assert!(before[0].validity.check().is_ok());
    let revoked = before[1].validity.check().map_err(|error| error.reason());
    assert_eq!(revoked, Err(ErrorReason::CredentialRevoked));
    let now = certificates.admit(&changed).expect("known");
    assert!(now.principal.act(TenantId::parse(TENANT).expect("a tenant"), AccessScope::Write).is_ok());
    std::fs::write(file.path(), "nonsense").expect("written");
    assert!(certificates.reload().is_err());
    assert!(certificates.admit(&kept).is_ok(), "what was read before still holds");
}

#[test]
fn the_principal_of_a_certificate_follows_the_file_even_if_its_old_name_stays() {
    let later = r#""second.internal": {"tenants": ["*"], "scopes": ["read"]}"#;
    let file = file(&format!("{{{later}}}"));
    let certificates = Certificates::open(file.path()).expect("a good file");
    let certificate = certificate(&[dns("first.internal"), dns("second.internal")], 2999);
    let name = || certificates.admit(&certificate).expect("known").principal.name().to_owned();
    assert_eq!([name(), name()], ["cert:second.internal"; 2]);
    let first = r#""first.internal": {"tenants": ["*"], "scopes": ["write"]}"#;
    std::fs::write(file.path(), format!("{{{first}, {later}}}")).expect("written");
    certificates.reload().expect("a good file");
    assert_eq!([name(), name()], ["cert:first.internal"; 2], "the first of its names that the file has");
}

#[test]
fn a_file_that_cannot_be_understood_is_refused_with_what_is_wrong() {
    for (text, mention) in [
        ("", "--mtls-principals"),
        ("[]", "spiffe://example/agent"),
        ("{}", "no principal"),
        (r#"{"a": {"tenants": ["x"], "scopes": []}}"#, "\"x\" of a is no tenant"),
        (r#"{"a": {"tenants": ["*"], "scopes": ["all"]}}"#, "\"all\" of a is not read"),
        (r#"{"a": {"tenants": ["*"]}}"#, "scopes"),
        (r#"{"a": {"tenants": ["*"], "scopes": [], "more": 1}}"#, "more"),
        (r#"{"a": {"tenants": ["*"], "scopes": []}, "A": {"tenants": ["*"], "scopes": []}}"#, "twice"),
    ] {
        let file = file(text);
        let refusal = Certificates::open(file.path()).err().expect(text);
        assert!(refusal.contains(mention), "{mention} is not in: {refusal}");
    }
    let missing = Certificates::open(Path::new("/does/not/exist")).err().expect("a refusal");
    assert!(missing.contains("/does/not/exist"), "{missing}");
}
