//! The contract on which clients rely, as a text snapshot. `buf breaking` compares names, numbers and types, but not
//! HTTP paths, rules, behaviours, scopes or the values of options. A change of this snapshot is a change for clients.
//! It is reviewed like a migration, and has a line in CHANGELOG.md.

use std::fmt::Write as _;

use prost_reflect::{
    Cardinality, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor, ServiceDescriptor, Value,
};

use crate::support::raw::CONTRACT;

/// The package whose files are the contract.
const PACKAGE: &str = "crm.v1";

#[test]
fn the_contract_is_as_it_was() {
    let mut files: Vec<_> = CONTRACT.files().filter(|file| file.package_name() == PACKAGE).collect();
    files.sort_by(|one, other| one.name().cmp(other.name()));
    assert!(files.len() > 15, "all files are there");
    let text: String = files.iter().map(of_file).collect();
    insta::assert_snapshot!(text);
}

fn of_file(file: &FileDescriptor) -> String {
    let mut text = format!("{}{}\n", file.name(), options(&file.options()));
    text.extend(file.extensions().map(|extension| of_extension(&extension)));
    text.extend(file.services().map(|service| of_service(&service)));
    text.extend(file.messages().map(|message| of_message(&message)));
    text.extend(file.enums().map(|words| of_enum(&words)));
    text + "\n"
}

fn of_extension(extension: &ExtensionDescriptor) -> String {
    let (name, of) = (extension.full_name(), extension.containing_message());
    format!("  option ({name}) = {} of {}\n", extension.number(), of.full_name())
}

fn of_service(service: &ServiceDescriptor) -> String {
    let mut text = format!("  service {}\n", service.name());
    for rpc in service.methods() {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        let (request, response) = (rpc.input(), rpc.output());
        let _ = writeln!(
            text,
            "    rpc {}({}{}) returns ({}{}){}",
            rpc.name(),
            stream(rpc.is_client_streaming()),
            request.name(),
            stream(rpc.is_server_streaming()),
            response.name(),
            options(&rpc.options()),
        );
    }
    text
}

fn of_message(message: &MessageDescriptor) -> String {
    let mut text = format!("  message {}{}\n", message.name(), options(&message.options()));
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let _ = writeln!(text, "    oneof {}{}", oneof.name(), options(&oneof.options()));
    }
    for field in message.fields() {
        let _ = writeln!(text, "    {} {}{}", field.number(), of_field(&field), options(&field.options()));
    }
    text
}

/// Returns a field such as `repeated string tags`, with its oneof.
fn of_field(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(words) => words.full_name().to_owned(),
        kind => format!("{kind:?}").to_lowercase(),
    };
    let oneof = field.containing_oneof();
    let label = match (field.cardinality(), &oneof) {
        (Cardinality::Repeated, _) => "repeated ",
        (_, Some(oneof)) if oneof.is_synthetic() => "optional ",
        _ => "",
    };
    let of = oneof.filter(|oneof| !oneof.is_synthetic()).map(|oneof| format!(" of {}", oneof.name()));
    format!("{label}{kind} {}{}", field.name(), of.unwrap_or_default())
}

fn of_enum(words: &EnumDescriptor) -> String {
    let values = words.values().map(|value| format!("    {} {}\n", value.number(), value.name()));
    format!("  enum {}\n", words.name()) + &values.collect::<String>()
}

/// Returns the options of an element, one after the other.
fn options(options: &DynamicMessage) -> String {
    let mut said: Vec<_> = options
        .fields()
        .map(|(field, value)| format!("{}: {}", field.name(), of_value(&field.kind(), value)))
        .chain(
            options
                .extensions()
                .map(|(extension, value)| {
                    (extension.full_name().to_owned(), of_value(&extension.kind(), value))
                })
                .map(|(name, value)| format!("({name}): {value}")),
        )
        .collect();
    said.sort();
    if said.is_empty() { String::new() } else { format!("  [{}]", said.join(", ")) }
}

fn of_value(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (_, Value::Message(message)) => {
            let fields = message
                .fields()
                .map(|(field, value)| format!("{}: {}", field.name(), of_value(&field.kind(), value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        (_, Value::List(list)) => {
            let items = list.iter().map(|value| of_value(kind, value));
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        (Kind::Enum(words), Value::EnumNumber(number)) => {
            words.get_value(*number).map_or_else(|| number.to_string(), |value| value.name().to_owned())
        }
        (_, Value::String(text)) => format!("{text:?}"),
        (_, Value::Bool(value)) => value.to_string(),
        (_, Value::I32(value)) => value.to_string(),
        (_, Value::I64(value)) => value.to_string(),
        (_, Value::U32(value)) => value.to_string(),
        (_, Value::U64(value)) => value.to_string(),
        (_, Value::F32(value)) => value.to_string(),
        (_, Value::F64(value)) => value.to_string(),
        (_, value) => format!("{value:?}"),
    }
}
