//! The comments of the protos, as texts of Markdown.

use std::collections::BTreeMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};

/// All comments of a contract.
pub(crate) struct Comments(BTreeMap<(String, Vec<i32>), String>);

impl Comments {
    pub(crate) fn of(pool: &DescriptorPool) -> Self {
        let mut comments = BTreeMap::new();
        for file in pool.files() {
            let proto = file.file_descriptor_proto();
            for location in proto.source_code_info.iter().flat_map(|info| &info.location) {
                if let Some(comment) = &location.leading_comments {
                    comments.insert((file.name().to_owned(), location.path.clone()), unwrapped(comment));
                }
            }
        }
        Self(comments)
    }

    pub(crate) fn message(&self, message: &MessageDescriptor) -> String {
        self.at(&message.parent_file(), message.path())
    }

    pub(crate) fn field(&self, field: &FieldDescriptor) -> String {
        self.at(&field.parent_message().parent_file(), field.path())
    }

    pub(crate) fn word(&self, value: &EnumValueDescriptor) -> String {
        self.at(&value.parent_enum().parent_file(), value.path())
    }

    pub(crate) fn words(&self, words: &EnumDescriptor) -> String {
        self.at(&words.parent_file(), words.path())
    }

    pub(crate) fn service(&self, service: &ServiceDescriptor) -> String {
        self.at(&service.parent_file(), service.path())
    }

    pub(crate) fn method(&self, method: &MethodDescriptor) -> String {
        self.at(&method.parent_service().parent_file(), method.path())
    }

    fn at(&self, file: &FileDescriptor, path: &[i32]) -> String {
        self.0.get(&(file.name().to_owned(), path.to_vec())).cloned().unwrap_or_default()
    }
}

/// Returns a comment with one line for each paragraph and each item of a list: viewers keep line breaks.
pub(crate) fn unwrapped(comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines().map(str::trim) {
        if line.is_empty() {
            text.truncate(text.trim_end().len());
            text += "\n\n";
            continue;
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push(if line.starts_with("- ") { '\n' } else { ' ' });
        }
        text += line;
    }
    text.trim().to_owned()
}

/// Returns the first example of a comment: `zoe` of "e.g. `zoe`".
pub(crate) fn example(comment: &str) -> Option<&str> {
    let (_, rest) = comment.split_once("e.g. `")?;
    rest.split_once('`').map(|(example, _)| example)
}

/// Returns what an RPC does in one line: the first sentence of its comment, which begins with its name.
pub(crate) fn summary(name: &str, comment: &str) -> String {
    let rest = comment.strip_prefix(name).unwrap_or(comment).trim_start();
    let end = [". ", ".\n", ": ", "; "].iter().filter_map(|end| rest.find(end)).min();
    let sentence = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
