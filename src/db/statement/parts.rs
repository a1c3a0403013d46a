//! SQL with named places, taken apart while the service is compiled.

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text of the statement.
    Sql(&'static str),
    /// The place of the field with this name.
    Value(&'static str),
}

/// Returns the number of parts of the texts.
pub(crate) const fn count(texts: &[&str]) -> usize {
    let mut parts = 0;
    let mut text = 0;
    while text < texts.len() {
        let mut rest = texts[text];
        while let Some((_, end)) = place(rest.as_bytes()) {
            parts += 2;
            rest = rest.split_at(end).1;
        }
        parts += 1;
        text += 1;
    }
    parts
}

/// Returns the parts of the texts.
///
/// Fails, and so the build, if a place is not a field, or a field has no place.
pub(crate) const fn parts<const N: usize>(texts: &[&'static str], fields: &[&str]) -> [Part; N] {
    let mut parts = [Part::Sql(""); N];
    let mut next = 0;
    let mut text = 0;
    while text < texts.len() {
        let mut rest = texts[text];
        while let Some((begin, end)) = place(rest.as_bytes()) {
            let (before, after) = rest.split_at(end);
            let (sql, name) = before.split_at(begin);
            let name = name.split_at(1).1;
            assert!(contains(fields, name), "the SQL names a field that the statement does not have");
            parts[next] = Part::Sql(sql);
            parts[next + 1] = Part::Value(name);
            next += 2;
            rest = after;
        }
        parts[next] = Part::Sql(rest);
        next += 1;
        text += 1;
    }
    let mut field = 0;
    while field < fields.len() {
        assert!(has_place(&parts, fields[field]), "the SQL leaves out a field of the statement");
        field += 1;
    }
    parts
}

/// Returns where the first place begins, with its colon, and where it ends. A colon within quotes, and the two of a
/// cast, are no place.
const fn place(sql: &[u8]) -> Option<(usize, usize)> {
    let mut quote = None;
    let mut at = 0;
    while at < sql.len() {
        match (quote, sql[at]) {
            (None, b'\'' | b'"') => quote = Some(sql[at]),
            (Some(b'\''), b'\'') | (Some(b'"'), b'"') => quote = None,
            (None, b':') if at + 1 < sql.len() && sql[at + 1] == b':' => at += 1,
            (None, b':') if at + 1 < sql.len() && sql[at + 1].is_ascii_lowercase() => {
                let mut end = at + 1;
                while end < sql.len() && is_in_name(sql[end]) {
                    end += 1;
                }
                return Some((at, end));
            }
            _ => {}
        }
        at += 1;
    }
    None
}

const fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

const fn contains(names: &[&str], name: &str) -> bool {
    let mut index = 0;
    while index < names.len() {
        if are_equal(names[index].as_bytes(), name.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

const fn has_place(parts: &[Part], field: &str) -> bool {
    let mut index = 0;
    while index < parts.len() {
        if let Part::Value(name) = parts[index]
            && are_equal(name.as_bytes(), field.as_bytes())
        {
            return true;
        }
        index += 1;
    }
    false
}

const fn are_equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}
