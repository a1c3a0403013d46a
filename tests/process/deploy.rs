//! The contents of `deploy/`: each series that it names exists, and each alert has a section in the runbook.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::metrics::{Scraped, closed_sets, smoke};
use super::scratch;

const RULES: &str = include_str!("../../deploy/prometheus/rules.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/crm.json");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");

/// The series that Prometheus itself creates for each scrape.
const UP: &str = "up";

/// The name of a series, with its matchers if it has any.
static SERIES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\b(up|(?:crm|grpc|rpc|process|tokio)_\w+)\b(?:\{([^}]*)\})?"#).expect("a pattern")
});

/// The matcher of a label.
static MATCHER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"(\w+)(=~|!~|!=|=)"([^"]*)""#).expect("a pattern"));

/// The queries of the rules.
fn rules() -> Vec<String> {
    let lines = RULES.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    lines.map(str::to_owned).collect()
}

/// The queries of the dashboard.
fn panels() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

/// The lines of each alert, after its name.
fn alerts() -> Vec<(String, Vec<String>)> {
    let blocks = RULES.split("- alert: ").skip(1);
    blocks
        .map(|block| {
            let mut lines = block.lines().map(|line| line.trim().to_owned());
            (lines.next().expect("a name"), lines.collect())
        })
        .collect()
}

/// Labels that a query groups by are not names of series.
fn without_groups(query: &str) -> String {
    static GROUPS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bby \([^)]*\)").expect("a pattern"));
    GROUPS.replace_all(query, "").into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_series_that_is_named_is_there_after_some_calls() {
    let queries = [rules(), panels()].concat();
    assert!(queries.len() > 50, "{} queries", queries.len());
    let scratch = scratch();
    let scraped = Scraped::start(&scratch);
    smoke(scraped.server.address).await;
    let scrape = scraped.scrape();
    let (names, sets) = (scrape.names(), closed_sets());
    let mut used = BTreeSet::new();
    for query in &queries {
        let query = without_groups(query);
        let found: Vec<_> = SERIES.captures_iter(&query).collect();
        assert!(!found.is_empty(), "no series in {query}");
        for series in found {
            let name = series.get(1).expect("a name").as_str();
            assert!(name == UP || names.contains(name), "{name} is not scraped: {query}");
            used.insert(name.to_owned());
            let matchers = series.get(2).map_or("", |matchers| matchers.as_str());
            for matcher in MATCHER.captures_iter(matchers) {
                let (label, kind, values) = (&matcher[1], &matcher[2], &matcher[3]);
                if matches!(label, "job" | "instance") {
                    continue;
                }
                let set = sets.get(label).unwrap_or_else(|| panic!("{label} is no label: {query}"));
                if matches!(kind, "=" | "!=") {
                    assert!(set.contains(values), "{label} is never {values}: {query}");
                    continue;
                }
                // Prometheus matches the whole value.
                let pattern = Regex::new(&format!("^(?:{values})$")).expect("a pattern");
                assert!(
                    set.iter().any(|value| pattern.is_match(value)),
                    "{label} is never {values}: {query}"
                );
                for word in values
                    .split('|')
                    .filter(|word| word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'))
                {
                    assert!(set.contains(word), "{label} is never {word}: {query}");
                }
            }
        }
    }
    let families = ["crm_", "rpc_", "grpc_", "process_", "tokio_"];
    assert!(families.iter().all(|start| used.iter().any(|name| name.starts_with(start))), "{used:?}");
    scraped.server.terminate().succeeded();
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() {
    let alerts = alerts();
    let sections: BTreeSet<&str> = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let named: BTreeSet<&str> = alerts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(sections, named);
    for (name, lines) in &alerts {
        let runbook = format!("runbook: docs/runbook.md#{}", name.to_lowercase());
        assert!(lines.contains(&runbook), "{name} has no {runbook}");
        let severity = lines.iter().find_map(|line| line.strip_prefix("severity: "));
        assert!(matches!(severity, Some("page" | "ticket")), "{name}: {severity:?}");
        assert!(lines.iter().any(|line| line.starts_with("summary: ")), "{name} has no summary");
        assert_eq!(
            lines.iter().filter(|line| line.starts_with("expr: ")).count(),
            1,
            "{name}: one line of query"
        );
        let section =
            RUNBOOK.split(&format!("## {name}\n")).nth(1).and_then(|rest| rest.split("\n## ").next());
        let section = section.expect("a section");
        for part in ["**Means**:", "**Look**:", "**Do**:"] {
            assert!(section.contains(part), "{name} does not say {part}");
        }
    }
}

#[test]
fn panels_of_the_dashboard_have_ids_and_places_of_their_own() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_i64().expect("an id")).collect();
    let places: BTreeSet<_> = panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
    let titles: BTreeSet<_> = panels.iter().map(|panel| panel["title"].as_str().expect("a title")).collect();
    assert_eq!((ids.len(), places.len(), titles.len()), (panels.len(), panels.len(), panels.len()));
}
