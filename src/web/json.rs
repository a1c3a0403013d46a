//! JSON of the contract, along its descriptors: what a client sends becomes the bytes of a message, and a message
//! becomes JSON.
//!
//! - [`read`]: JSON as it comes becomes bytes; [`texts`] does the same with parts of a URL.
//! - `write`: a message becomes JSON.
//! - `scalar`, `scalars` and `known`: single values, and the types of protobuf that JSON writes in a form of their own.
//! - `wire` writes bytes; `names` finds what a client may have meant; `place` says where in a request something is.

mod known;
mod names;
mod place;
pub(super) mod read;
mod scalar;
mod scalars;
pub(super) mod texts;
mod wire;
pub(super) mod write;

#[cfg(test)]
mod tests;

use crate::contract::validate::{MAX_VIOLATIONS, Violation};
use crate::error::{Error, Result};
use crate::pb::ErrorReason;
use place::Place;

/// What is wrong with the parts of a request that were read so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    violations: Vec<Violation>,
    /// Whether an error has listed the names of a message already: one list is enough.
    has_listed: bool,
}

impl Report {
    /// Adds what is wrong at a place. After [`MAX_VIOLATIONS`] nothing is added.
    fn add(&mut self, at: &Place<'_>, rule: &'static str, description: impl Into<String>) {
        self.add_named(at.to_string(), rule, description);
    }

    /// Adds what is wrong with a part of the request that has this name.
    pub(super) fn add_named(
        &mut self,
        field: impl Into<String>,
        rule: &'static str,
        description: impl Into<String>,
    ) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { field: field.into(), rule, description: description.into() });
        }
    }

    /// Returns the error for all that was wrong.
    pub(super) fn verdict(self) -> Result<()> {
        match self.violations.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations: self.violations }),
        }
    }
}
