//! The checks that the generated code calls. Each returns true if it found nothing wrong, so that the code stops at
//! the first violation of a value.
//!
//! `must` is the text of the rule, written at build time: "must be at most 256 characters".

use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;
use std::mem;
use std::ops::RangeBounds;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use regex::Regex;

use super::{Path, Report, Validate};

/// A pattern of a `pattern` rule, compiled when it is first needed. The build has compiled it too and fails on an
/// invalid one. If it is invalid here all the same, no text matches it.
pub type Pattern = LazyLock<Option<Regex>>;

/// Up to this many items are compared pairwise, which allocates nothing.
const UNIQUE_BY_COMPARING: usize = 16;

/// Checks the message at a field.
#[inline]
pub fn message<T: Validate>(value: &T, at: &Path<'_>, report: &mut Report) -> bool {
    let before = report.violations.len();
    value.check(at, report);
    report.violations.len() == before
}

/// Checks the message at a field with `ignore = IGNORE_ALWAYS`: only by checks that need no rule. Such a message is
/// partial, like the resource of an update with a mask.
pub fn without_rules<T: Validate>(value: &T, at: &Path<'_>, report: &mut Report) -> bool {
    let before = mem::replace(&mut report.without_rules, true);
    let ok = message(value, at, report);
    report.without_rules = before;
    ok
}

/// Reports a required field that is not set.
#[cold]
pub fn missing(at: &Path<'_>, report: &mut Report) -> bool {
    report.add(at, "required", format_args!("must be set"));
    false
}

/// Reports a required oneof of which no field is set.
#[cold]
pub fn missing_one_of(at: &Path<'_>, fields: &'static str, report: &mut Report) -> bool {
    report.add(at, "required", format_args!("must be set, by one of {fields}"));
    false
}

/// Checks the condition of a rule.
#[inline]
pub fn holds(ok: bool, rule: &'static str, must: &'static str, at: &Path<'_>, report: &mut Report) -> bool {
    if !ok {
        report.add(at, rule, format_args!("{must}"));
    }
    ok
}

/// Checks a condition that every value must meet, even where rules are ignored.
#[inline]
pub fn insist(ok: bool, rule: &'static str, must: &'static str, at: &Path<'_>, report: &mut Report) -> bool {
    if !ok {
        report.insist(at, rule, format_args!("{must}"));
    }
    ok
}

/// Checks that a text has no U+0000, which Postgres cannot store.
#[inline]
pub fn no_nul(value: &str, at: &Path<'_>, report: &mut Report) -> bool {
    let ok = !value.as_bytes().contains(&0);
    insist(ok, "string.no_nul", "must not contain the character U+0000", at, report)
}

/// Checks that a number is neither NaN nor infinite: JSON cannot represent these.
#[inline]
pub fn finite(value: f64, rule: &'static str, at: &Path<'_>, report: &mut Report) -> bool {
    insist(value.is_finite(), rule, "must be a finite number", at, report)
}

/// Checks that a number lies within bounds.
#[inline]
pub fn range<T: PartialOrd + Display>(
    value: T,
    bounds: impl RangeBounds<T>,
    rule: &'static str,
    must: &'static str,
    at: &Path<'_>,
    report: &mut Report,
) -> bool {
    let ok = bounds.contains(&value);
    if !ok {
        report.add(at, rule, format_args!("{must}, is {value}"));
    }
    ok
}

/// Checks the number of bytes, items or entries.
#[inline]
pub fn size(
    count: usize,
    bounds: impl RangeBounds<usize>,
    rule: &'static str,
    must: &'static str,
    at: &Path<'_>,
    report: &mut Report,
) -> bool {
    let ok = bounds.contains(&count);
    if !ok {
        report.add(at, rule, format_args!("{must}, has {count}"));
    }
    ok
}

/// Checks that a text has at least `min` characters (Unicode code points).
#[inline]
pub fn min_len(value: &str, min: usize, must: &'static str, at: &Path<'_>, report: &mut Report) -> bool {
    // A character has at most four bytes, so long texts need no counting.
    value.len() >= min.saturating_mul(4)
        || size(value.chars().count(), min.., "string.min_len", must, at, report)
}

/// Checks that a text has at most `max` characters (Unicode code points).
#[inline]
pub fn max_len(value: &str, max: usize, must: &'static str, at: &Path<'_>, report: &mut Report) -> bool {
    // A character has at least one byte, so short texts need no counting.
    value.len() <= max || size(value.chars().count(), ..=max, "string.max_len", must, at, report)
}

/// Checks that a text has exactly `len` characters (Unicode code points).
#[inline]
pub fn len(value: &str, len: usize, must: &'static str, at: &Path<'_>, report: &mut Report) -> bool {
    size(value.chars().count(), len..=len, "string.len", must, at, report)
}

/// Checks a text against a pattern.
#[inline]
pub fn pattern(
    value: &str,
    pattern: &Pattern,
    must: &'static str,
    at: &Path<'_>,
    report: &mut Report,
) -> bool {
    let ok = pattern.as_ref().is_some_and(|regex| regex.is_match(value));
    holds(ok, "string.pattern", must, at, report)
}

/// Checks that all items are different.
pub fn unique<T: Hash + Eq>(items: &[T], at: &Path<'_>, report: &mut Report) -> bool {
    let ok = if items.len() <= UNIQUE_BY_COMPARING {
        let mut rest = items.iter();
        std::iter::from_fn(|| rest.next().map(|item| !rest.as_slice().contains(item))).all(|ok| ok)
    } else {
        let mut seen = HashSet::with_capacity(items.len());
        items.iter().all(|item| seen.insert(item))
    };
    holds(ok, "repeated.unique", "must not name an item twice", at, report)
}

/// Returns a timestamp or a duration as a number that can be compared. A value out of range, which has its own check,
/// is still ordered correctly.
#[inline]
pub fn nanos(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

/// Returns the current time as [`nanos`] does.
pub fn now() -> i128 {
    let nanos = |elapsed: std::time::Duration| i128::try_from(elapsed.as_nanos());
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => nanos(after).unwrap_or(i128::MAX),
        Err(before) => nanos(before.duration()).map_or(i128::MIN, |nanos| -nanos),
    }
}
