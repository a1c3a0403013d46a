//! Where in a request something is, for errors.

use std::fmt;

/// The most characters of a client's own name that an error shows: longer ones are texts rather than names.
const SHOWN: usize = 64;

/// The place of a value: a step, and the place before it. Nothing is allocated until it is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    before: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Place<'a> {
    /// The message itself, which is in this field of the request; the request itself if it is empty.
    pub(super) fn root(name: &'a str) -> Self {
        Self { before: None, step: Step::Name(name) }
    }

    /// A field of this message, by its name or by what a client calls it.
    pub(super) fn field(&'a self, name: &'a str) -> Self {
        Self { before: Some(self), step: Step::Name(name) }
    }

    /// An item of this list.
    pub(super) fn index(&'a self, index: usize) -> Self {
        Self { before: Some(self), step: Step::Index(index) }
    }

    /// The value of a key of this map or open object.
    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Self { before: Some(self), step: Step::Key(key) }
    }

    /// How many steps lead here.
    pub(super) fn depth(&self) -> usize {
        self.before.map_or(0, |before| before.depth() + 1)
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self { before: None, step: Step::Name("") })
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before {
            before.fmt(out)?;
        }
        match self.step {
            Step::Name(name) => {
                if self.before.is_some_and(|before| !before.is_empty()) {
                    out.write_str(".")?;
                }
                out.write_str(&shown(name))
            }
            Step::Index(index) => write!(out, "[{index}]"),
            Step::Key(key) => write!(out, "[{:?}]", shown(key)),
        }
    }
}

/// Returns a client's own name as errors show it: in one line, and not at any length.
pub(super) fn shown(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(SHOWN).collect()
}
