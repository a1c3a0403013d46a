//! Validates what clients send, by the `buf.validate` rules of the protos.
//!
//! The build generates one [`Validate`] for every message of the package, so that limits are defined only in the
//! proto. The generated code calls this module: the paths, the report, the checks ([`check`]), the string formats
//! ([`formats`]) and the well-known types of protobuf.
//!
//! Nothing is allocated for a valid message: paths are links on the stack and become text only for a violation.
//! Descriptions never repeat what the client sent, except numbers and lengths, since they reach logs and error
//! trackers.

use std::fmt::{self, Write as _};

pub mod check;
pub mod formats;
mod known;

pub use known::{FIRST_SECOND, LAST_SECOND, MAX_MASK_PATHS, MAX_STRUCT_DEPTH, MAX_STRUCT_ENTRIES};

/// The checks that the build generated.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/validation.rs"));
}

#[cfg(test)]
mod tests;

/// The maximum number of violations that are collected for one request: enough to correct a form in one round. An
/// answer names as many of them as fit into its trailers, and says how many it leaves out.
pub const MAX_VIOLATIONS: usize = 50;

/// The longest map key that a path shows; longer keys are texts rather than names.
const MAX_SHOWN_KEY: usize = 64;

/// One fault that a client must correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path from the request to the field: `customer.tags[3]`, `labels["tier"]`. Empty for
    /// the request itself.
    pub field: String,
    /// The rule's id, as protovalidate names it: `string.max_len`, `required`.
    pub rule: &'static str,
    /// What to correct: `must be at most 256 characters, has 300`.
    pub description: String,
}

/// A message that can be checked against the rules of its proto.
pub trait Validate {
    /// Adds to `report` what is wrong with this message, which is at the path `at`.
    fn check(&self, at: &Path<'_>, report: &mut Report);
}

impl<T: Validate> Validate for Box<T> {
    fn check(&self, at: &Path<'_>, report: &mut Report) {
        (**self).check(at, report);
    }
}

/// Checks a whole message.
///
/// # Errors
///
/// All violations at once, the first [`MAX_VIOLATIONS`] of them.
pub fn validate<T: Validate>(message: &T) -> Result<(), Vec<Violation>> {
    let mut report = Report::default();
    message.check(&Path::ROOT, &mut report);
    if report.violations.is_empty() { Ok(()) } else { Err(report.violations) }
}

/// The violations found so far.
#[derive(Debug, Default)]
pub struct Report {
    violations: Vec<Violation>,
    /// Set below a field with `ignore = IGNORE_ALWAYS`, where only checks that need no rule apply.
    without_rules: bool,
}

impl Report {
    /// Whether the report is full, so that no further violation is added.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    /// Adds the violation of a rule, unless rules do not apply here.
    #[cold]
    #[inline(never)]
    pub fn add(&mut self, at: &Path<'_>, rule: &'static str, description: fmt::Arguments<'_>) {
        if !self.without_rules {
            self.insist(at, rule, description);
        }
    }

    /// Adds the violation of a check that needs no rule. After [`MAX_VIOLATIONS`] nothing is added.
    #[cold]
    #[inline(never)]
    pub fn insist(&mut self, at: &Path<'_>, rule: &'static str, description: fmt::Arguments<'_>) {
        if self.is_full() {
            return;
        }
        let description = match at.step {
            Step::KeyOf(_) => format!("the key {description}"),
            _ => description.to_string(),
        };
        self.violations.push(Violation { field: at.to_string(), rule, description });
    }
}

/// The path of a value: a step, and the path before it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'static str),
    Index(usize),
    ValueOf(Key<'a>),
    KeyOf(Key<'a>),
}

impl<'a> Path<'a> {
    /// The request itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// The field or oneof `name` of the message here.
    #[inline]
    pub fn field(&'a self, name: &'static str) -> Self {
        self.step(Step::Field(name))
    }

    /// The item at `index` of the repeated field here.
    #[inline]
    pub fn index(&'a self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// The value under `key` in the map here.
    #[inline]
    pub fn value_of(&'a self, key: impl Into<Key<'a>>) -> Self {
        self.step(Step::ValueOf(key.into()))
    }

    /// The `key` itself of an entry of the map here.
    #[inline]
    pub fn key_of(&'a self, key: impl Into<Key<'a>>) -> Self {
        self.step(Step::KeyOf(key.into()))
    }

    #[inline]
    fn step(&'a self, step: Step<'a>) -> Self {
        Path { parent: Some(self), step }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
            if matches!(self.step, Step::Field(_)) && !matches!(parent.step, Step::Root) {
                out.write_char('.')?;
            }
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) => out.write_str(name),
            Step::Index(index) => write!(out, "[{index}]"),
            Step::ValueOf(key) | Step::KeyOf(key) => write!(out, "[{key}]"),
        }
    }
}

/// The key of a map's entry.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// A string.
    Text(&'a str),
    /// A signed number.
    Signed(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A bool.
    Bool(bool),
}

impl fmt::Display for Key<'_> {
    /// A key that is not a plain name is shown as `*`, because it may be private text.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Key::Text(text) if is_plain_name(text) => write!(out, "\"{text}\""),
            Key::Text(_) => out.write_char('*'),
            Key::Signed(number) => number.fmt(out),
            Key::Unsigned(number) => number.fmt(out),
            Key::Bool(value) => value.fmt(out),
        }
    }
}

fn is_plain_name(text: &str) -> bool {
    text.len() <= MAX_SHOWN_KEY
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Key::Text(text)
    }
}

impl From<i32> for Key<'_> {
    fn from(number: i32) -> Self {
        Key::Signed(number.into())
    }
}

impl From<i64> for Key<'_> {
    fn from(number: i64) -> Self {
        Key::Signed(number)
    }
}

impl From<u32> for Key<'_> {
    fn from(number: u32) -> Self {
        Key::Unsigned(number.into())
    }
}

impl From<u64> for Key<'_> {
    fn from(number: u64) -> Self {
        Key::Unsigned(number)
    }
}

impl From<bool> for Key<'_> {
    fn from(value: bool) -> Self {
        Key::Bool(value)
    }
}
