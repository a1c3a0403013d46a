//! The credential that a call carries in its metadata.

use http::{HeaderMap, header};

use super::invalid;
use crate::error::Result;

/// The prefix of API keys. A token begins with `ey`, the base64 form of how a JSON object begins.
pub(super) const KEY_PREFIX: &str = "crm_";

/// A credential of the metadata `authorization: Bearer …`. It is a secret: it has no `Debug`.
pub(super) enum Bearer<'a> {
    /// An API key.
    Key(&'a str),
    /// Anything else, which should be a token.
    Token(&'a str),
}

impl<'a> Bearer<'a> {
    /// Returns the credential of a call; `None` if it has none.
    ///
    /// # Errors
    ///
    /// `CREDENTIAL_INVALID` for anything other than one bearer credential.
    pub(super) fn of(metadata: &'a HeaderMap) -> Result<Option<Self>> {
        let mut values = metadata.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(invalid("the metadata authorization is there more than once; send one credential"));
        }
        let bearer = value.to_str().ok().and_then(|text| {
            let (scheme, credential) = text.split_once(' ')?;
            let credential = credential.trim();
            (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
        });
        match bearer {
            Some(secret) if secret.starts_with(KEY_PREFIX) => Ok(Some(Self::Key(secret))),
            Some(token) => Ok(Some(Self::Token(token))),
            None => Err(invalid("the metadata authorization must be \"Bearer\", a space, and a credential")),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<String>, String> {
        let mut metadata = HeaderMap::new();
        for value in values {
            metadata.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value"));
        }
        match Bearer::of(&metadata) {
            Ok(bearer) => Ok(bearer.map(|bearer| match bearer {
                Bearer::Key(secret) => format!("key {secret}"),
                Bearer::Token(token) => format!("token {token}"),
            })),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_bearer_is_a_key_or_a_token() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"Bearer crm_abc"]), Ok(Some("key crm_abc".to_owned())));
        assert_eq!(read(&[b"bearer  a.b.c "]), Ok(Some("token a.b.c".to_owned())));
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        for bad in
            ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "secret", "Bearersecret x", "Bearer\tsecret"]
        {
            let refusal = read(&[bad.as_bytes()]).expect_err(bad);
            assert!(refusal.contains("Bearer") && !refusal.contains("secret"), "{refusal}");
        }
        assert!(read(&[b"Bearer \xff"]).is_err());
        let twice = read(&[b"Bearer secret", b"Bearer secret"]).expect_err("twice");
        assert!(twice.contains("once") && !twice.contains("secret"), "{twice}");
    }
}
