//! One answer from `--metrics-listen`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::patience::LIMIT;

/// The text of a scrape.
pub struct Scrape(String);

impl Scrape {
    /// Scrapes this address.
    pub fn of(address: SocketAddr) -> Self {
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
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Returns the value of a series, written as in the text.
    pub fn value(&self, series: &str) -> Option<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a number"))
    }

    /// Returns the names of all series.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples().map(|(name, _)| name).collect()
    }

    /// Returns each series: its name, and its labels.
    pub fn samples(&self) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
        self.0.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let name = line.split([' ', '{']).next().expect("a name");
            let labels =
                line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once("} ").expect("an end").0);
            let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
            (name, labels.map(|(label, value)| (label, value.trim_end_matches('"'))).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_names_labels_and_values() {
        let scrape =
            Scrape("# TYPE a counter\na_total 3\nb{x=\"1\",y=\"two words\"} 0.5\n# EOF\n".to_owned());
        assert_eq!(scrape.value("a_total"), Some(3.0));
        assert_eq!(scrape.value("b{x=\"1\",y=\"two words\"}"), Some(0.5));
        assert_eq!(scrape.value("c"), None);
        let samples: Vec<_> = scrape.samples().collect();
        assert_eq!(samples[1], ("b", vec![("x", "1"), ("y", "two words")]));
        assert_eq!(scrape.names(), BTreeSet::from(["a_total", "b"]));
    }
}
