//! Which fields of a message were given: none may be given twice, nor together with one that excludes it.

use prost_reflect::FieldDescriptor;

/// The fields of a message that were given so far.
#[derive(Default)]
pub(super) struct Given {
    fields: Vec<u32>,
    /// The name of the group of each field that excludes others, and the field's own.
    groups: Vec<(String, String)>,
}

impl Given {
    /// Notes a field. Returns what is wrong if it must not be given too.
    pub(super) fn note(&mut self, field: &FieldDescriptor) -> Option<String> {
        if self.fields.contains(&field.number()) {
            return Some("is given twice".to_owned());
        }
        self.fields.push(field.number());
        let group = field.containing_oneof().filter(|group| !group.is_synthetic())?;
        let other = self.groups.iter().find(|(name, _)| name == group.name());
        if let Some((_, other)) = other {
            return Some(format!("must not be given together with {other}"));
        }
        self.groups.push((group.name().to_owned(), field.name().to_owned()));
        None
    }
}
