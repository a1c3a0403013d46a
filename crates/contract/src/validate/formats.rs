//! String formats of the rules `email`, `uuid`, `uri` and `hostname`, read as protovalidate does.

use std::net::Ipv6Addr;

/// The longest host name in DNS.
const MAX_HOSTNAME: usize = 253;

/// The longest label between the dots of a host name.
const MAX_LABEL: usize = 63;

/// Whether a text is an e-mail address as HTML defines it, which browsers check too: the part
/// before the `@` is not quoted and has no space, and the rest is a host name.
pub fn is_email(value: &str) -> bool {
    let Some((local, domain)) = value.split_once('@') else {
        return false;
    };
    !local.is_empty()
        && local.bytes().all(
            |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~'),
        )
        && domain.split('.').all(is_label)
}

/// Whether a text is a UUID: five groups of 8, 4, 4, 4 and 12 hexadecimal digits.
pub fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a text is a host name: labels of letters, digits and hyphens, of which the last is not a
/// number. It may end in a dot.
pub fn is_hostname(value: &str) -> bool {
    let name = value.strip_suffix('.').unwrap_or(value);
    let last = name.rsplit('.').next().unwrap_or_default();
    value.len() <= MAX_HOSTNAME
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is a URI by RFC 3986: with a scheme, and without characters that must be encoded.
pub fn is_uri(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(':') else {
        return false;
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match hierarchy.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", hierarchy),
    };
    is_scheme(scheme)
        && is_authority(authority)
        && is_encoded(path, b":@/")
        && is_encoded(query, b":@/?")
        && is_encoded(fragment, b":@/?")
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn is_authority(authority: &str) -> bool {
    let (user, address) = authority.split_once('@').unwrap_or(("", authority));
    let (host_ok, port) = match address.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host.parse::<Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => {
            let (host, port) = address.split_at(address.find(':').unwrap_or(address.len()));
            (is_encoded(host, b""), port)
        }
    };
    let port_ok = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    host_ok && port_ok && is_encoded(user, b":")
}

/// Whether a part of a URI has only unreserved characters, sub-delimiters, escapes (`%20`) and
/// those in `also`.
fn is_encoded(part: &str, also: &[u8]) -> bool {
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let ok = match byte {
            b'%' => {
                let mut digit = || bytes.next().is_some_and(|next| next.is_ascii_hexdigit());
                digit() && digit()
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => true,
            _ => b"-._~!$&'()*+,;=".contains(&byte) || also.contains(&byte),
        };
        if !ok {
            return false;
        }
    }
    true
}
