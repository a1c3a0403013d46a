//! Under which names, and from which web pages, the door is reached.
//!
//! A web page can make a name of its own mean this machine (DNS rebinding), and then talk to what listens on it as if
//! it were the page's own server. `Host` then has the name of the page, and so has `Origin`.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, Uri, header};

use super::refusal::Refusal;
use crate::settings::McpSettings;

/// The word for every host, or every origin.
const ANY: &str = "*";

/// The allowed hosts and origins.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    hosts: Vec<String>,
    origins: Vec<String>,
    /// Whether every host is allowed where none is named: a page without a credential gets nothing.
    any_host: bool,
}

impl Hosts {
    /// Takes the settings. `anyone` says that callers need not prove who they are.
    pub(super) fn new(settings: &McpSettings, anyone: bool) -> Self {
        let lower = |list: &[String]| list.iter().map(|entry| entry.trim().to_ascii_lowercase()).collect();
        Self {
            hosts: lower(&settings.mcp_hosts),
            origins: lower(&settings.mcp_origins),
            any_host: !anyone && settings.mcp_hosts.is_empty(),
        }
    }

    /// Refuses a request for another host, or from another page.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
        let host = match host {
            Some(host) => host.parse().ok(),
            // HTTP/2 has the host in the URI.
            None => uri.authority().cloned(),
        };
        let Some(host) = host.filter(|host| self.takes_host(host)) else { return Err(Refusal::host()) };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let allowed = origins.all(|origin| {
            origin.to_str().is_ok_and(|origin| self.takes_origin(&origin.to_ascii_lowercase(), &host))
        });
        if allowed { Ok(()) } else { Err(Refusal::origin()) }
    }

    fn takes_host(&self, host: &Authority) -> bool {
        let name = bare(host.host());
        let listed = |entry: &String| {
            let with_port = entry.parse::<Authority>().is_ok_and(|entry| {
                bare(entry.host()) == name
                    && entry.port_u16().is_none_or(|port| host.port_u16() == Some(port))
            });
            entry == ANY || *entry == name || with_port
        };
        self.any_host || is_loopback(&name) || self.hosts.iter().any(listed)
    }

    /// Whether a page may use the door: one of this machine, one that is served under the same name and port, or one
    /// of the settings.
    fn takes_origin(&self, origin: &str, host: &Authority) -> bool {
        if self.origins.iter().any(|entry| entry == ANY || entry == origin) {
            return true;
        }
        let Some(authority) = origin.parse::<Uri>().ok().and_then(|origin| origin.authority().cloned())
        else {
            return false;
        };
        is_loopback(&bare(authority.host())) && is_loopback(&bare(host.host()))
            || authority.as_str().eq_ignore_ascii_case(host.as_str())
    }
}

/// Returns the name of a host in small letters, without the brackets of IPv6.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

/// Whether a name means this machine, and no server of names is asked for it.
fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(hosts: &Hosts, host: &str, origin: Option<&str>) -> bool {
        let mut request = Request::builder().uri("/mcp").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(()).expect("a request");
        hosts.check(request.uri(), request.headers()).is_ok()
    }

    fn hosts(names: &[&str], origins: &[&str], anyone: bool) -> Hosts {
        let settings = McpSettings {
            mcp_hosts: names.iter().map(|name| (*name).to_owned()).collect(),
            mcp_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            mcp_url: None,
        };
        Hosts::new(&settings, anyone)
    }

    #[test]
    fn where_anyone_may_call_only_this_machine_is_meant() {
        let hosts = hosts(&[], &[], true);
        for host in ["localhost", "LOCALHOST:50051", "127.0.0.1:50051", "127.9.9.9", "[::1]:50051"] {
            assert!(checked(&hosts, host, None), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "", "a b"] {
            assert!(!checked(&hosts, host, None), "{host}");
        }
    }

    #[test]
    fn where_callers_prove_who_they_are_any_name_is_taken() {
        assert!(checked(&hosts(&[], &[], false), "crm.example.com", None));
        assert!(!checked(&hosts(&["crm.example.com"], &[], false), "other.example.com", None));
    }

    #[test]
    fn names_of_the_settings_are_taken_with_and_without_a_port() {
        let hosts = hosts(&["CRM.example.com", "api.example.com:8443"], &[], true);
        assert!(checked(&hosts, "crm.example.com", None) && checked(&hosts, "crm.example.com:443", None));
        assert!(checked(&hosts, "api.example.com:8443", None) && !checked(&hosts, "api.example.com", None));
        assert!(checked(&self::hosts(&["*"], &[], true), "anything.example", None));
    }

    #[test]
    fn pages_of_this_machine_of_the_service_and_of_the_settings_may_use_it() {
        let own = hosts(&["crm.example.com"], &["https://app.example.com"], true);
        assert!(checked(&own, "localhost:50051", Some("http://localhost:6274")));
        assert!(checked(&own, "crm.example.com", Some("https://crm.example.com")));
        assert!(checked(&own, "crm.example.com", Some("https://app.example.com")));
        for (host, origin) in [
            ("localhost:50051", "http://evil.example"),
            ("localhost:50051", "null"),
            ("crm.example.com", "http://localhost:6274"),
            ("crm.example.com", "https://app.example.com:8443"),
        ] {
            assert!(!checked(&own, host, Some(origin)), "{host} {origin}");
        }
    }

    #[test]
    fn http2_has_the_host_in_the_uri() {
        let hosts = hosts(&[], &[], true);
        let is_taken = |uri: &str| hosts.check(&uri.parse().expect("a URI"), &HeaderMap::new()).is_ok();
        assert!(is_taken("http://localhost:50051/mcp"));
        assert!(!is_taken("http://evil.example/mcp"));
        assert!(!is_taken("/mcp"));
    }
}
