use std::time::Duration;

use tonic::Code;

use super::*;
use crate::rpc::method::Method;

/// The rows of the tables in docs/metrics.md: family, type, labels.
fn documented() -> BTreeMap<&'static str, (&'static str, Vec<&'static str>)> {
    let rows = include_str!("../../docs/metrics.md").lines().filter(|line| line.starts_with("| `"));
    let cell = |text: &'static str| text.trim().trim_matches('`');
    rows.filter_map(|row| {
        let cells: Vec<_> = row.split('|').map(cell).collect();
        let [_, family, kind, labels, _, _] = cells[..] else { return None };
        let labels = labels.split(',').map(cell).filter(|label| !label.is_empty()).collect();
        Some((family, (kind, labels)))
    })
    .collect()
}

/// The metrics of a service in which everything has happened.
fn busy() -> Metrics {
    let metrics = Metrics::default();
    for called in
        [Called::of_contract(0), Called::foreign("/grpc.health.v1.Health/Check"), Called::foreign("/odd")]
    {
        for code in 0..17 {
            metrics.calls.began(called);
            metrics.calls.ended(called, Code::from_i32(code), Duration::from_millis(3));
        }
    }
    metrics
}

#[test]
fn every_family_is_documented_with_its_type_and_labels() {
    let scrape = busy().scrape();
    let mut families = BTreeMap::new();
    for line in scrape.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            families.insert(name, (kind.to_owned(), Vec::new()));
        }
    }
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.split_once([' ', '{']).expect("a value");
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end)).unwrap_or(series);
        let found = families.get_mut(family);
        let (_, labels) = found.unwrap_or_else(|| panic!("{series} has no TYPE"));
        let names = line.split_once('{').map_or("", |(_, rest)| rest.split_once("} ").expect("an end").0);
        let names = names.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
        *labels = names.filter(|name| *name != "le").map(str::to_owned).collect();
    }
    let documented: BTreeMap<_, _> = documented()
        .into_iter()
        .map(|(name, (kind, labels))| {
            (name.to_owned(), (kind.to_owned(), labels.into_iter().map(str::to_owned).collect::<Vec<_>>()))
        })
        .collect();
    assert_eq!(families, documented);
}

#[test]
fn every_family_has_a_help() {
    let scrape = busy().scrape();
    for line in scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, _) = line.split_once(' ').expect("a type");
        let help = format!("# HELP {name} ");
        assert!(
            scrape.lines().any(|line| line.strip_prefix(&help).is_some_and(|help| help.len() > 5)),
            "{name}"
        );
    }
}

#[test]
fn an_rpc_has_the_same_place_in_both_tables() {
    let mut found = 0;
    for place in 0.. {
        let called = Called::of_contract(place);
        let Some(method) = Method::find(&format!("/{}", called.name())) else { break };
        assert_eq!((method.place, method.streaming), (place, called.is_stream()), "{}", called.name());
        found += 1;
    }
    assert!(found >= 60, "{found}");
}

#[test]
fn what_is_looked_at_before_a_scrape_is_forgotten_with_its_guard() {
    let metrics = Metrics::default();
    let look = metrics.before_each_scrape(|families| set(&families.connections.open, 7));
    assert!(metrics.scrape().contains("crm_connections_open 7\n"));
    metrics.connections.open.set(3);
    drop(look);
    assert!(metrics.scrape().contains("crm_connections_open 3\n"));
}

#[test]
fn one_state_holds() {
    let metrics = Metrics::default();
    metrics.health.set(State::Degraded);
    let scrape = metrics.scrape();
    let holds: Vec<_> =
        scrape.lines().filter(|line| line.starts_with("crm_health_state{") && line.ends_with(" 1")).collect();
    assert_eq!(holds, ["crm_health_state{state=\"degraded\"} 1"]);
}
