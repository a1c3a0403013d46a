//! Where what is read goes: bytes, errors, and the paths of the fields that were sent.

use prost_reflect::FieldDescriptor;

use crate::rpc::mask::opens;
use crate::web::json::Report;
use crate::web::json::wire::put_message;

/// See the module.
pub(super) struct Target<'w> {
    pub(super) out: &'w mut Vec<u8>,
    pub(super) report: &'w mut Report,
    /// Where sent fields are noted, if they are.
    pub(super) sent: Option<Sent<'w>>,
}

/// Notes the paths of the fields that are sent.
pub(super) struct Sent<'w> {
    /// The path of the message, with a dot after it.
    pub(super) before: String,
    pub(super) paths: &'w mut Vec<String>,
}

impl Target<'_> {
    /// Writes a message in a field, which `fill` writes.
    pub(super) fn message<T>(self, number: u32, fill: impl FnOnce(Target<'_>) -> T) -> T {
        let Target { out, report, sent } = self;
        put_message(out, number, |out| fill(Target { out, report, sent }))
    }

    /// Returns the same, for a part of which the fields are not noted.
    pub(super) fn part(&mut self) -> Target<'_> {
        Target { out: self.out, report: self.report, sent: None }
    }

    /// Returns the same, for this field of the message.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Target<'_> {
        let sent = self
            .sent
            .as_mut()
            .filter(|_| opens(field))
            .map(|sent| Sent { before: format!("{}{}.", sent.before, field.name()), paths: sent.paths });
        Target { out: self.out, report: self.report, sent }
    }
}
