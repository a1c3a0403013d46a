use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::*;

const ALL: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// An Ed25519 key of a set, made of this repeated letter.
fn ed(kid: &str, byte: &str) -> String {
    let x = byte.repeat(43);
    format!(r#"{{"kty": "OKP", "crv": "Ed25519", "kid": "{kid}", "x": "{x}"}}"#)
}

fn set(keys: &[String]) -> Result<Keys, String> {
    Keys::of_jwks(format!(r#"{{"keys": [{}]}}"#, keys.join(", ")).as_bytes(), &ALL)
}

#[test]
fn a_token_is_held_to_the_key_that_it_names_and_to_its_kind() {
    let keys = set(&[ed("a", "A"), ed("b", "E")]).expect("two keys");
    assert!(keys.find(Some("a"), Algorithm::EdDSA).is_ok_and(|key| key.kid.as_deref() == Some("a")));
    assert_eq!(keys.find(Some("c"), Algorithm::EdDSA).err(), Some(Miss::Unknown));
    assert_eq!(keys.find(None, Algorithm::EdDSA).err(), Some(Miss::Ambiguous));
    for other in [Algorithm::RS256, Algorithm::ES256, Algorithm::HS256] {
        assert_eq!(keys.find(Some("a"), other).err(), Some(Miss::Unknown), "{other:?}");
    }
    let only = set(&[ed("a", "A")]).expect("a key");
    assert!(only.find(None, Algorithm::EdDSA).is_ok(), "there is no other that it could be");
}

#[test]
fn a_key_without_a_name_stands_in_no_other_keys_way() {
    let nameless = |byte: &str| ed("", byte).replace(r#""kid": "", "#, "");
    let keys = set(&[nameless("A"), ed("a", "E")]).expect("two keys");
    let found = |keys: &Keys, kid| keys.find(kid, Algorithm::EdDSA).map(|key| key.kid.clone());
    assert_eq!(found(&keys, Some("a")), Ok(Some("a".to_owned())), "the one that it names");
    assert_eq!(found(&keys, None), Ok(None), "neither has a name");
    assert_eq!(found(&keys, Some("b")), Ok(None), "it may have been given a name elsewhere");
    let both = set(&[nameless("A"), nameless("E")]).expect("two keys");
    assert_eq!(found(&both, None), Err(Miss::Ambiguous));
    let named = set(&[ed("a", "A"), ed("b", "E")]).expect("two keys");
    assert_eq!(found(&named, None), Err(Miss::Ambiguous));
}

#[test]
fn keys_that_are_for_something_else_are_left_out() {
    let with = |more: &str| ed("x", "A").replace('}', &format!(", {more}}}"));
    let small = format!(r#"{{"kty": "RSA", "n": "{}", "e": "AQAB"}}"#, "u".repeat(171));
    for other in [
        with(r#""use": "enc""#),
        with(r#""alg": "ES256""#),
        small,
        r#"{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}"#.to_owned(),
        r#"{"kty": "new", "more": true}"#.to_owned(),
        r#"{"kty": "OKP", "crv": "Ed25519"}"#.to_owned(),
        "7".to_owned(),
    ] {
        assert!(set(std::slice::from_ref(&other)).is_err(), "{other}");
        let keys = set(&[other, ed("a", "A")]).expect("one key is good");
        assert_eq!(keys.0.len(), 1);
    }
    assert!(set(&[with(r#""use": "sig", "alg": "EdDSA""#)]).is_ok());
}

#[test]
fn a_set_without_a_key_is_none() {
    for bad in ["", "[]", "{}", r#"{"keys": []}"#, r#"{"keys": 7}"#] {
        assert!(Keys::of_jwks(bad.as_bytes(), &ALL).is_err(), "{bad}");
    }
    let text = format!(r#"{{"keys": [{}]}}"#, ed("a", "A"));
    assert!(Keys::of_jwks(text.as_bytes(), &[Algorithm::RS256]).is_err(), "only of a kind that is not taken");
}

#[test]
fn a_public_key_in_a_pem_file_is_one_of_the_kinds_that_are_taken() {
    let pem = |algorithm| KeyPair::generate_for(algorithm).expect("a key").public_key_pem();
    let read = |text: &str, algorithms: &[Algorithm]| {
        Keys::of_pem(text.as_bytes(), algorithms).map(|keys| keys.0[0].algorithm)
    };
    let (p256, ed25519) = (pem(&PKCS_ECDSA_P256_SHA256), pem(&PKCS_ED25519));
    assert_eq!(read(&p256, &ALL), Ok(Algorithm::ES256));
    assert_eq!(read(&ed25519, &ALL), Ok(Algorithm::EdDSA));
    assert!(read(&p256, &[Algorithm::EdDSA]).is_err_and(|why| why.contains("--jwt-algorithms")));
    assert!(read(&pem(&PKCS_ECDSA_P384_SHA384), &ALL).is_err_and(|why| why.contains("P-256")));
    let private = KeyPair::generate().expect("a key").serialize_pem();
    for bad in ["", "nonsense", &private] {
        assert!(read(bad, &ALL).is_err_and(|why| why.contains("BEGIN PUBLIC KEY")), "{bad}");
    }
}

#[test]
fn a_secret_has_32_bytes_without_the_line_break() {
    assert!(Keys::of_secret(&[b'x'; 32]).is_ok());
    assert!(Keys::of_secret(&[[b'x'; 31].as_slice(), b"\n"].concat()).is_err_and(|why| why.contains("31")));
    assert!(Keys::of_secret(b"").is_err());
}

#[test]
fn what_a_key_has_signed_holds_as_long_as_it_is_the_same_key() {
    let former = set(&[ed("kept", "A"), ed("gone", "E"), ed("changed", "I")]).expect("keys");
    let mut keys = set(&[ed("kept", "A"), ed("changed", "M"), ed("new", "Q")]).expect("keys");
    keys.replace(&former);
    let retired =
        |keys: &Keys, kid| keys.find(Some(kid), Algorithm::EdDSA).is_ok_and(|key| key.retired.is_cancelled());
    assert_eq!(["kept", "gone", "changed"].map(|kid| retired(&former, kid)), [false, true, true]);
    assert_eq!(["kept", "changed", "new"].map(|kid| retired(&keys, kid)), [false; 3]);
    // The same holds later, through the keys that replaced them.
    let mut last = set(&[ed("new", "Q")]).expect("a key");
    last.replace(&keys);
    assert!(retired(&former, "kept"));
}
