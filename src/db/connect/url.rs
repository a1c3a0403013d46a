//! Parses DATABASE_URL, in the forms that libpq accepts: a URL, or words of the form `key=value`.
//!
//! The driver reads users, passwords, hosts and most parameters. But its parser of URLs accepts no lists of hosts in
//! parameters, and adds such hosts to those of the URL. So this module parses the parameters: it handles hosts, as
//! libpq does, and what the driver does not know, and passes the others on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::tls::Verification;

/// The port of Postgres.
const PORT: u16 = 5432;

/// How a URL begins.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// The parameters that are handled here, and not by the driver.
const OURS: [&str; 8] = [
    "host",
    "hostaddr",
    "port",
    "sslmode",
    "sslrootcert",
    "connect_timeout",
    "target_session_attrs",
    "load_balance_hosts",
];

/// The settings of a URL.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The settings that are the same for every host.
    pub(super) settings: Config,
    /// At least one.
    pub(super) hosts: Vec<Server>,
    /// Whether hosts are tried in a random order.
    pub(super) shuffled: bool,
    /// How long to wait for a host, if the URL says so.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) verification: Verification,
    /// The path of a PEM file.
    pub(super) root_certificates: Option<String>,
}

/// A place where Postgres may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// The name that its certificate must have, and by which its addresses are found.
    pub(super) host: Host,
    /// Its address, if the URL has one.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

impl Server {
    /// The host's name, for messages.
    pub(super) fn name(&self) -> String {
        match &self.host {
            Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        }
    }
}

/// Parses a URL or words.
///
/// # Errors
///
/// What is wrong, without any value: a value may be a password.
pub(super) fn parse(text: &str) -> Result<Wanted, String> {
    parse_with(text, session_attributes)
}

/// As [`parse`], for a standby that serves reads.
pub(super) fn parse_reading(text: &str) -> Result<Wanted, String> {
    parse_with(text, reading_attributes)
}

fn parse_with(
    text: &str,
    attributes: impl FnOnce(Option<&str>, usize) -> Result<TargetSessionAttrs, String>,
) -> Result<Wanted, String> {
    let text = text.trim();
    let (head, mut parameters) = match SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => parse_url(rest)?,
        None => (Config::new(), parse_words(text)?),
    };
    if !parameters.keys().all(|key| key.bytes().all(is_of_key)) {
        return Err("a parameter has a name that none has".to_owned());
    }
    let ours: HashMap<&str, String> =
        OURS.iter().filter_map(|key| Some((*key, parameters.remove(*key)?))).collect();
    let mut settings = read(&words(&parameters))?;
    if let (None, Some(user)) = (settings.get_user(), head.get_user()) {
        settings.user(user);
    }
    if let (None, Some(password)) = (settings.get_password(), head.get_password()) {
        settings.password(password);
    }
    if let (None, Some(name)) = (settings.get_dbname(), head.get_dbname()) {
        settings.dbname(name);
    }
    let said = |key: &str| ours.get(key).map(String::as_str);
    let hosts = servers(&head, said)?;
    settings.target_session_attrs(attributes(said("target_session_attrs"), hosts.len())?);
    let root_certificates = said("sslrootcert").map(str::to_owned);
    // As with libpq, `require` checks certificates if trusted ones are named.
    let verification = match verification(said("sslmode"))? {
        Verification::Nothing if root_certificates.is_some() => Verification::Issuer,
        verification => verification,
    };
    Ok(Wanted {
        settings,
        hosts,
        shuffled: is_shuffled(said("load_balance_hosts"))?,
        connect_timeout: seconds(said("connect_timeout"))?,
        verification,
        root_certificates,
    })
}

/// Returns what comes before the parameters of a URL, as the driver reads it, and the parameters.
fn parse_url(rest: &str) -> Result<(Config, HashMap<String, String>), String> {
    // As with libpq, a `?` in a password does not begin the parameters.
    let user = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')).map_or(0, |at| at + 1);
    let (head, query) = match rest[user..].find('?') {
        Some(at) => (&rest[..user + at], &rest[user + at + 1..]),
        None => (rest, ""),
    };
    // The driver takes any `@` as the end of a user.
    let path = head[user..].find('/').map_or(head.len(), |at| user + at);
    let head = format!("{}{}{}", SCHEMES[0], &head[..path], head[path..].replace('@', "%40"));
    let mut parameters = HashMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("a parameter has no value")?;
        parameters.insert(decoded(key)?, decoded(value)?);
    }
    Ok((read(&head)?, parameters))
}

/// Decodes a key or a value. In libpq a `+` is a plus, not a space.
fn decoded(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|error| error.to_string())
}

/// Returns the pairs of a text like `host=a,b user='o''\ clock'`, without the quotes.
fn parse_words(mut text: &str) -> Result<HashMap<String, String>, String> {
    let mut parameters = HashMap::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Ok(parameters);
        }
        let (key, rest) = text
            .split_once('=')
            .ok_or("it neither begins with postgres:// nor is it made of words like host=db user=crm")?;
        let (value, rest) = word(rest.trim_start())?;
        parameters.insert(key.trim_end().to_owned(), value);
        text = rest;
    }
}

/// Returns a value, and the text after it.
fn word(text: &str) -> Result<(String, &str), String> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut letters = body.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            letter if quoted.is_none() && letter.is_whitespace() => return Ok((value, &body[at..])),
            letter => value.push(letter),
        }
    }
    if quoted.is_some() {
        return Err("a value that begins with ' does not end with one".to_owned());
    }
    Ok((value, ""))
}

/// Returns the pairs as a text that the driver reads.
fn words(parameters: &HashMap<String, String>) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    parameters.iter().map(|(key, value)| format!("{key}='{}' ", quoted(value))).collect()
}

fn read(text: &str) -> Result<Config, String> {
    text.parse().map_err(|error| super::describe(&error))
}

fn is_of_key(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte == b'_'
}

/// Returns the servers to connect to. As with libpq, parameters override what comes before them.
fn servers<'p>(head: &Config, said: impl Fn(&str) -> Option<&'p str>) -> Result<Vec<Server>, String> {
    let list = |text: &'p str| text.split(',').filter(move |_| !text.is_empty());
    let hosts: Vec<Host> = match said("host") {
        Some(names) => list(names).map(host).collect(),
        None => head.get_hosts().to_vec(),
    };
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| "hostaddr is an IP address, or several");
    let addresses = said("hostaddr").map_or(Ok(Vec::new()), |some| list(some).map(address).collect())?;
    let port = |text: &str| match text {
        "" => Ok(PORT),
        text => text.parse::<u16>().map_err(|_| "port is a number below 65536, or several"),
    };
    let ports = match said("port") {
        Some(ports) => list(ports).map(port).collect::<Result<Vec<_>, _>>()?,
        None => head.get_ports().to_vec(),
    };
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err("it names no host".to_owned());
    }
    if hosts.contains(&Host::Tcp(String::new())) {
        return Err("the name of a host is empty".to_owned());
    }
    for (what, many) in [("host", hosts.len()), ("hostaddr", addresses.len())] {
        if many != 0 && many != count {
            return Err(format!("there are {count} servers, and {what} is said for {many}"));
        }
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(format!(
            "there are {count} servers and {} ports: say one port, or one for each",
            ports.len()
        ));
    }
    let server = |number: usize| {
        let address = addresses.get(number).copied();
        let named = hosts.get(number).cloned();
        Some(Server {
            host: named.or_else(|| address.map(|address| Host::Tcp(address.to_string())))?,
            address,
            port: ports.get(number).or_else(|| ports.first()).copied().unwrap_or(PORT),
        })
    };
    Ok((0..count).filter_map(server).collect())
}

fn host(name: &str) -> Host {
    if name.starts_with('/') { Host::Unix(PathBuf::from(name)) } else { Host::Tcp(name.to_owned()) }
}

/// Which of several servers to use. The service writes, so by default it uses a server that accepts writes. If there
/// is only one server, there is nothing to choose.
fn session_attributes(said: Option<&str>, hosts: usize) -> Result<TargetSessionAttrs, String> {
    match said {
        None if hosts > 1 => Ok(TargetSessionAttrs::ReadWrite),
        None | Some("any") => Ok(TargetSessionAttrs::Any),
        Some("read-write" | "primary") => Ok(TargetSessionAttrs::ReadWrite),
        Some(_) => {
            Err("target_session_attrs is one of read-write, primary and any: the service writes".to_owned())
        }
    }
}

/// As [`session_attributes`], for a standby that serves reads: any server, so that reads go on if it is promoted.
fn reading_attributes(said: Option<&str>, hosts: usize) -> Result<TargetSessionAttrs, String> {
    match said {
        _ if hosts > 1 => Err("it names one host: one standby may be older than another".to_owned()),
        None | Some("any") => Ok(TargetSessionAttrs::Any),
        Some("read-only" | "standby") => Ok(TargetSessionAttrs::ReadOnly),
        Some(_) => Err("target_session_attrs is one of any, read-only and standby: it is read".to_owned()),
    }
}

fn is_shuffled(said: Option<&str>) -> Result<bool, String> {
    match said {
        None | Some("disable") => Ok(false),
        Some("random") => Ok(true),
        Some(_) => Err("load_balance_hosts is disable or random".to_owned()),
    }
}

/// Parses a time. As with libpq, there is no limit if it is not positive.
fn seconds(said: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = said else { return Ok(None) };
    let seconds: i64 = text.parse().map_err(|_| "connect_timeout is a number of seconds")?;
    Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

fn verification(said: Option<&str>) -> Result<Verification, String> {
    Ok(match said {
        Some("disable") => Verification::Disabled,
        None | Some("allow" | "prefer") => Verification::Preferred,
        Some("require") => Verification::Nothing,
        Some("verify-ca") => Verification::Issuer,
        Some("verify-full") => Verification::Full,
        Some(_) => {
            return Err("sslmode is one of disable, prefer, require, verify-ca, verify-full".to_owned());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Wanted {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Returns hosts with addresses and ports, as people write them.
    fn places(text: &str) -> Vec<String> {
        let place = |server: &Server| {
            let address = server.address.map(|address| format!("({address})")).unwrap_or_default();
            format!("{}{address}:{}", server.name(), server.port)
        };
        wanted(text).hosts.iter().map(place).collect()
    }

    #[test]
    fn hosts_are_taken_in_every_form_of_libpq() {
        for (text, expected) in [
            ("postgres://u@a/db", &["a:5432"][..]),
            ("postgresql://u:p@a:1/db", &["a:1"]),
            ("postgres://u@a:1,b:2/db", &["a:1", "b:2"]),
            ("postgres://u@a,b:5433/db", &["a:5432", "b:5433"]),
            ("postgres://a:1,b:2", &["a:1", "b:2"]),
            ("postgres://u@[::1]:1,b/db", &["[::1]:1", "b:5432"]),
            ("postgres://u@/db?host=a,b&port=1,2", &["a:1", "b:2"]),
            ("postgres:///db?host=a%2Cb&port=1", &["a:1", "b:1"]),
            ("postgres://u@a:1/db?host=b&port=2", &["b:2"]),
            ("postgres://u@a:1/db?host=b", &["b:1"]),
            ("postgres://u@%2Fvar%2Frun/db", &["/var/run:5432"]),
            ("postgres://u@/db?host=/var/run", &["/var/run:5432"]),
            ("postgres://u@a,b/db?hostaddr=10.0.0.1,10.0.0.2", &["a(10.0.0.1):5432", "b(10.0.0.2):5432"]),
            ("postgres://u@/db?hostaddr=10.0.0.1", &["10.0.0.1(10.0.0.1):5432"]),
            ("host=a,b port=1,2 dbname=db", &["a:1", "b:2"]),
            ("host = a,b  port=7", &["a:7", "b:7"]),
            ("host=a,b,c port=1,,3", &["a:1", "b:5432", "c:3"]),
            ("host='a' hostaddr=::1", &["a(::1):5432"]),
        ] {
            assert_eq!(places(text), expected, "{text}");
        }
    }

    #[test]
    fn who_and_what_is_taken_in_every_form() {
        for text in [
            "postgres://o%27clock:a%20b%5C@h/d%40b",
            "postgres://o'clock:a b\\@h/d@b",
            "postgres://h/d@b?user=o'clock&password=a%20b%5C",
            "postgres://x:y@h/z?user=o'clock&password=a b%5C&dbname=d%40b",
            r"user=o\'clock password='a b\\' dbname=d@b host=h",
            r"  host=h user='o\'clock' dbname = d@b password=a\ b\\",
        ] {
            let settings = wanted(text).settings;
            assert_eq!(settings.get_user(), Some("o'clock"), "{text}");
            assert_eq!(settings.get_password(), Some(&b"a b\\"[..]), "{text}");
            assert_eq!(settings.get_dbname(), Some("d@b"), "{text}");
        }
        assert_eq!(wanted("postgres://u:a?b@h/d").settings.get_password(), Some(&b"a?b"[..]));
    }

    #[test]
    fn what_the_driver_reads_is_what_was_written() {
        for (text, options) in [
            ("postgres://u@h/db?options=-c%20work_mem%3D64MB", "-c work_mem=64MB"),
            ("postgres://u@h/db?sslmode=require&options=-c%20work_mem=64MB", "-c work_mem=64MB"),
            ("postgres://u@h/db?options=-c+work_mem%3D64MB&sslmode=require", "-c+work_mem=64MB"),
            ("postgres://u@h/db?options=-c%20a%3Dx%26y%2525&sslmode=prefer", "-c a=x&y%25"),
            ("postgres://h/db?options=-c%20a%3Db@c", "-c a=b@c"),
            (r"host=h options='-c a=\'b\'\\'", r"-c a='b'\"),
        ] {
            assert_eq!(wanted(text).settings.get_options(), Some(options), "{text}");
        }
    }

    #[test]
    fn several_hosts_are_searched_for_one_that_takes_writes() {
        for (text, expected) in [
            ("postgres://u@a/db", TargetSessionAttrs::Any),
            ("postgres://u@a,b/db", TargetSessionAttrs::ReadWrite),
            ("postgres://u@a,b/db?target_session_attrs=any", TargetSessionAttrs::Any),
            ("postgres://u@a/db?target_session_attrs=read-write", TargetSessionAttrs::ReadWrite),
            ("host=a,b target_session_attrs=primary", TargetSessionAttrs::ReadWrite),
        ] {
            assert_eq!(wanted(text).settings.get_target_session_attrs(), expected, "{text}");
        }
    }

    #[test]
    fn times_and_order_are_taken() {
        for (text, timeout, shuffled) in [
            ("postgres://h/db", None, false),
            ("postgres://h/db?connect_timeout=0&load_balance_hosts=disable", None, false),
            ("postgres://h/db?connect_timeout=-1", None, false),
            ("host=a,b connect_timeout=1 load_balance_hosts=random", Some(Duration::from_secs(1)), true),
        ] {
            let wanted = wanted(text);
            assert_eq!((wanted.connect_timeout, wanted.shuffled), (timeout, shuffled), "{text}");
        }
    }

    #[test]
    fn tls_is_taken() {
        for (text, verification, certificates) in [
            ("postgres://h/db", Verification::Preferred, None),
            ("host=h sslmode=allow", Verification::Preferred, None),
            ("host=h sslmode=disable", Verification::Disabled, None),
            ("postgres://h/db?sslmode=require", Verification::Nothing, None),
            ("postgres://h/db?sslmode=require&sslrootcert=/ca.pem", Verification::Issuer, Some("/ca.pem")),
            (
                "postgres://h/db?sslrootcert=/a%20b/ca+1.pem&sslmode=verify-full",
                Verification::Full,
                Some("/a b/ca+1.pem"),
            ),
            ("host=h sslmode=verify-ca sslrootcert='/a b/ca.pem'", Verification::Issuer, Some("/a b/ca.pem")),
        ] {
            let wanted = wanted(text);
            assert_eq!(wanted.verification, verification, "{text}");
            assert_eq!(wanted.root_certificates.as_deref(), certificates, "{text}");
        }
    }

    #[test]
    fn a_wrong_one_is_refused_with_what_is_wrong_and_without_its_password() {
        for (text, why) in [
            ("", "it names no host"),
            ("hunter2", "neither begins with postgres:// nor"),
            ("hunter2@db", "neither begins with postgres:// nor"),
            ("mysql://u:hunter2@db/crm", "neither begins with postgres:// nor"),
            ("mysql://u:hunter2@db/crm?a=b", "a name that none has"),
            ("x postgres://u:hunter2@db/crm?a=b", "a name that none has"),
            ("password=hunter2", "it names no host"),
            ("host=db password=hun ter2", "neither begins with postgres:// nor"),
            ("host=db password=hunter2 ter=3 x", "neither begins with postgres:// nor"),
            ("host=db password='hunter2", "does not end with one"),
            ("host=db secret=hunter2", "unknown option `secret`"),
            ("postgres://u:hunter2@/db", "it names no host"),
            ("postgres://u:hunter2@a,/db", "the name of a host is empty"),
            ("postgres://u:hunter2@:1/db", "the name of a host is empty"),
            ("postgres://hunter2@db:port/crm", "invalid value for option `port`"),
            ("postgres://u:hunter2@a/db?host=a,b,c&port=1,2", "there are 3 servers and 2 ports"),
            ("postgres://u:hunter2@a,b/db?port=1,2,3", "there are 2 servers and 3 ports"),
            (
                "host=a,b hostaddr=10.0.0.1 password=hunter2",
                "there are 2 servers, and hostaddr is said for 1",
            ),
            ("host=a port=70000", "port is a number below 65536"),
            ("host=a hostaddr=b", "hostaddr is an IP address"),
            ("host=a connect_timeout=2s", "connect_timeout is a number of seconds"),
            ("host=a target_session_attrs=standby", "read-write, primary and any: the service writes"),
            ("host=a load_balance_hosts=yes", "load_balance_hosts is disable or random"),
            (
                "postgres://a/db?sslmode=yes",
                "sslmode is one of disable, prefer, require, verify-ca, verify-full",
            ),
            ("postgres://a/db?nonsense=hunter2", "unknown option `nonsense`"),
            ("postgres://a/db?nonsense", "a parameter has no value"),
        ] {
            let refused = parse(text).err().unwrap_or_else(|| panic!("{text} is taken"));
            assert!(refused.contains(why), "{text}: {refused}");
            assert!(!refused.contains("hunter2"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_standby_is_one_host_that_need_not_take_writes() {
        for (text, expected) in [
            ("postgres://u@a/db", TargetSessionAttrs::Any),
            ("host=a target_session_attrs=any", TargetSessionAttrs::Any),
            ("host=a target_session_attrs=standby", TargetSessionAttrs::ReadOnly),
            ("postgres://u@a/db?target_session_attrs=read-only", TargetSessionAttrs::ReadOnly),
        ] {
            let wanted = parse_reading(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(wanted.settings.get_target_session_attrs(), expected, "{text}");
        }
        let refused = |text: &str| parse_reading(text).err().unwrap_or_else(|| panic!("{text} is taken"));
        assert!(refused("postgres://u@a,b/db").contains("one host"));
        assert!(refused("host=a target_session_attrs=read-write").contains("read-only and standby"));
    }
}
