//! One answer from `--metrics-listen`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::harness::LIMIT;

/// The text of a scrape.
pub(crate) struct Scrape(String);

impl Scrape {
    /// Scrapes this address.
    pub(crate) fn of(address: SocketAddr) -> Self {
        let mut tcp = TcpStream::connect(address).expect("it listens");
        tcp.set_read_timeout(Some(LIMIT)).expect("a limit");
        tcp.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("room to write");
        let mut text = String::new();
        tcp.read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(body.ends_with("# EOF\n"), "{body}");
        Self(body.to_owned())
    }

    /// The text of the answer.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Returns the value of a series, written as in the text.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    /// Returns the names of all series.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples().map(|(name, _)| name).collect()
    }

    /// Returns each series: its name, and its labels.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
        self.0.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let name = line.split([' ', '{']).next().expect("a name");
            let labels =
                line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once("} ").expect("an end").0);
            let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
            (name, labels.map(|(label, value)| (label, value.trim_end_matches('"'))).collect())
        })
    }
}
