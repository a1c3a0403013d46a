//! The order in which tables are distributed. No I/O.

use std::collections::BTreeSet;

/// Returns tables, each after those that it refers to. Tables that refer to each other in a circle come last, as they
/// are. Otherwise the order is kept.
pub(in crate::db) fn by_references(tables: &[String], references: &BTreeSet<(&str, &str)>) -> Vec<String> {
    let mut waiting: Vec<&str> = tables.iter().map(String::as_str).collect();
    let mut ordered: Vec<&str> = Vec::with_capacity(tables.len());
    while !waiting.is_empty() {
        let waits = |table: &str| {
            references.iter().any(|(from, to)| *from == table && *to != table && waiting.contains(to))
        };
        let next = waiting.iter().position(|table| !waits(table)).unwrap_or(0);
        ordered.push(waiting.remove(next));
    }
    ordered.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(tables: &[&str], references: &[(&str, &str)]) -> Vec<String> {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        by_references(&tables, &references.iter().copied().collect())
    }

    #[test]
    fn a_table_comes_after_those_that_it_refers_to() {
        let references =
            [("pieces", "drafts"), ("drafts", "messages"), ("messages", "talks"), ("talks", "customers")];
        let tables = ["pieces", "customers", "drafts", "messages", "talks"];
        assert_eq!(ordered(&tables, &references), ["customers", "talks", "messages", "drafts", "pieces"]);
        assert_eq!(ordered(&["a", "b"], &[("a", "a"), ("b", "elsewhere")]), ["a", "b"]);
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(ordered(&["a", "b", "c"], &[("a", "b"), ("b", "a"), ("c", "a")]), ["a", "b", "c"]);
    }
}
