//! The schemas of messages and enums: `components.schemas` of the document.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::comments::{self, Comments};
use super::json::{Json, Object};
use super::{known, values};
use crate::validation::kind_name;
use crate::validation::options::{self, FieldRules, Ignore};

/// The values of `google.api.field_behavior` that the document shows.
const REQUIRED: i32 = 2;
const OUTPUT_ONLY: i32 = 3;

/// Fields whose texts come from an earlier answer, or are new in each request. A viewer fills bodies with examples, and any
/// text would be wrong there.
const MADE_UP: [&str; 4] = ["etag", "page_token", "request_id", "resume_token"];

/// What a schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// What is sent as a whole, or answered.
    Whole,
    /// What an update changes: nothing is required of it.
    Change,
}

/// The schemas that the document has so far.
pub(crate) struct Schemas<'c> {
    comments: &'c Comments,
    package: String,
    /// By name; `None` while one is being made.
    made: BTreeMap<String, Option<Object>>,
}

impl<'c> Schemas<'c> {
    pub(crate) fn new(comments: &'c Comments, package: &str) -> Self {
        Self { comments, package: package.to_owned(), made: BTreeMap::new() }
    }

    /// Returns the finished schemas by their names.
    pub(crate) fn finish(self) -> Object {
        self.made.into_iter().filter_map(|(name, schema)| Some((name, schema?))).collect()
    }

    /// Returns a reference to the schema of a message, or its schema if it is a well-known type.
    pub(crate) fn message(&mut self, message: &MessageDescriptor, used: Use) -> Result<Object, String> {
        if let Some(schema) = known::of(message) {
            return Ok(schema);
        }
        let used = if used == Use::Change && has_required(message) { used } else { Use::Whole };
        let suffix = if used == Use::Change { "Change" } else { "" };
        let name = format!("{}{suffix}", self.name(message.full_name()));
        if !self.made.contains_key(&name) {
            self.made.insert(name.clone(), None);
            let schema = self.object(message, used, &[])?;
            self.made.insert(name.clone(), Some(schema));
        }
        Ok(reference(&name))
    }

    /// Returns a reference to the schema of a message without some of its fields, under a name of its own.
    pub(crate) fn without(
        &mut self,
        message: &MessageDescriptor,
        used: Use,
        left_out: &[&str],
        name: &str,
    ) -> Result<Object, String> {
        let schema = self.object(message, used, left_out)?;
        let mut free = name.to_owned();
        for number in 2_u32.. {
            match self.made.get(&free) {
                Some(known) if known.as_ref() != Some(&schema) => free = format!("{name}{number}"),
                _ => break,
            }
        }
        self.made.insert(free.clone(), Some(schema));
        Ok(reference(&free))
    }

    /// Adds the schemas of errors: `Status`, and the details that it may have.
    pub(crate) fn add_status(&mut self, pool: &DescriptorPool) -> Result<(), String> {
        let status = self.of_google(pool, "google.rpc.Status")?;
        let mut kinds = Vec::new();
        for (name, description) in known::DETAILS {
            kinds.push(self.detail(pool, name, description)?);
        }
        let details = Object::new()
            .with("type", "array")
            .with("description", known::ABOUT_DETAILS)
            .with("items", Object::new().with("anyOf", kinds));
        let mut schema = self.object(&status, Use::Whole, &["details"])?;
        schema.set("properties", schema.object("properties").with("details", details));
        schema.set("required", vec!["code", "message"]);
        schema.set("description", known::STATUS);
        self.made.insert("Status".to_owned(), Some(schema));
        Ok(())
    }

    /// Adds the schema of a detail, which says by `@type` what it is, and returns a reference to it.
    fn detail(&mut self, pool: &DescriptorPool, name: &str, description: &str) -> Result<Object, String> {
        let detail = self.of_google(pool, name)?;
        let tag = Object::new().with("type", "string").with("const", known::type_of(name));
        let mut schema = self.object(&detail, Use::Whole, &[])?;
        schema.set("properties", Object::new().with("@type", tag).and(schema.object("properties")));
        schema.set("required", vec!["@type"]);
        schema.set("description", description);
        self.made.insert(detail.name().to_owned(), Some(schema));
        Ok(reference(detail.name()))
    }

    /// Returns a message of google.rpc, whose name no message of the contract may have.
    fn of_google(&self, pool: &DescriptorPool, name: &str) -> Result<MessageDescriptor, String> {
        let found = pool.get_message_by_name(name);
        let found = found.ok_or_else(|| format!("the contract does not have {name}"))?;
        match pool.get_message_by_name(&format!("{}.{}", self.package, found.name())) {
            Some(own) => Err(format!("{} has the name of {name} in OpenAPI", own.full_name())),
            None => Ok(found),
        }
    }

    /// Returns the schema of a field: its values, its rules and its comment.
    pub(crate) fn field(&mut self, field: &FieldDescriptor, used: Use) -> Result<Object, String> {
        let named = |error: String| format!("{}: {error}", field.full_name());
        let comment = self.comments.field(field);
        let example = match MADE_UP.contains(&field.name()) {
            true => Some(""),
            false => comments::example(&comment),
        };
        let schema = self.values(field, used, example).map_err(named)?;
        let comment = [comment.as_str(), &self.oneof(field)].join(" ");
        Ok(schema
            .with_some("description", comment.trim())
            .with_some("readOnly", behaves(field, OUTPUT_ONLY))
            .with_some("deprecated", is_deprecated(&field.options())))
    }

    fn object(
        &mut self,
        message: &MessageDescriptor,
        used: Use,
        left_out: &[&str],
    ) -> Result<Object, String> {
        let (mut properties, mut required) = (Object::new(), Vec::new());
        for field in message.fields().filter(|field| !left_out.contains(&field.name())) {
            properties.set(field.name(), self.field(&field, used)?);
            if used == Use::Whole && is_required(&field)? {
                required.push(field.name().to_owned());
            }
        }
        let mut comment = self.comments.message(message);
        for rule in options::of_message(message)? {
            comment += &format!("\n\nRule: {}.", rule.message);
        }
        let schema = Object::new()
            .with("type", "object")
            .with_some("description", comment)
            .with_some("properties", properties)
            .with_some("required", required)
            .with_some("deprecated", is_deprecated(&message.options()));
        let mut schema = schema;
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let fields: Vec<_> = oneof.fields().map(|field| field.name().to_owned()).collect();
            let all_are_there = fields.iter().all(|field| !left_out.contains(&field.as_str()));
            if used == Use::Whole && all_are_there && options::is_oneof_required(&oneof)? {
                let one = |field: String| Object::new().with("required", vec![field]);
                schema.set("oneOf", fields.into_iter().map(one).collect::<Vec<_>>());
            }
        }
        Ok(schema)
    }

    fn values(
        &mut self,
        field: &FieldDescriptor,
        used: Use,
        example: Option<&str>,
    ) -> Result<Object, String> {
        let (rules, name) = (FieldRules::of_field(field)?, field.name().replace('_', " "));
        if field.is_map() {
            let entry = field.kind();
            let entry = entry.as_message().ok_or("a map without entries")?;
            let mut rules = rules.into_kind("map")?;
            let limit = rules.take_size("max_pairs").map(Json::from);
            let value =
                self.value(&entry.map_entry_value_field().kind(), rules.take_inner("values")?, used, &[])?;
            let map = Object::new().with("type", "object").with("additionalProperties", value);
            return Ok(limit.into_iter().fold(map, |map, limit| map.with("maxProperties", limit)));
        }
        let examples: Vec<&str> = example.into_iter().chain([name.as_str()]).collect();
        if !field.is_list() {
            return self.value(&field.kind(), rules, used, &examples);
        }
        let may_be_empty = rules.ignore != Ignore::Unspecified;
        let mut rules = rules.into_kind("repeated")?;
        let items = self.value(&field.kind(), rules.take_inner("items")?, Use::Whole, &examples)?;
        let mut list = Object::new().with("type", "array").with("items", items);
        if let Some(least) = rules.take_size("min_items").filter(|_| !may_be_empty) {
            list.set("minItems", least);
        }
        if let Some(most) = rules.take_size("max_items") {
            list.set("maxItems", most);
        }
        Ok(list.with_some("uniqueItems", rules.take_switch("unique")))
    }

    fn value(
        &mut self,
        kind: &Kind,
        rules: FieldRules,
        used: Use,
        examples: &[&str],
    ) -> Result<Object, String> {
        let ignore = rules.ignore;
        Ok(match kind {
            Kind::String => values::text(rules.into_kind("string")?, ignore, examples)?,
            Kind::Bool => Object::new().with("type", "boolean"),
            Kind::Bytes => Object::new().with("type", "string").with("contentEncoding", "base64"),
            Kind::Enum(words) => self.words(words).and(values::word(rules.into_kind("enum")?, words)),
            Kind::Message(message) => self.message(message, used)?,
            number => values::number(number, rules.into_kind(kind_name(number))?, ignore),
        })
    }

    /// Returns a reference to the schema of an enum.
    fn words(&mut self, words: &EnumDescriptor) -> Object {
        let name = self.name(words.full_name());
        if !self.made.contains_key(&name) {
            let schema = self.of_enum(words);
            self.made.insert(name.clone(), Some(schema));
        }
        reference(&name)
    }

    fn of_enum(&self, words: &EnumDescriptor) -> Object {
        let mut comment = self.comments.words(words) + "\n";
        for value in words.values() {
            comment += &format!("\n- `{}`: {}", value.name(), self.comments.word(&value));
        }
        let names: Vec<_> = words.values().map(|value| value.name().to_owned()).collect();
        Object::new()
            .with("type", "string")
            .with("description", comment.trim())
            .with("enum", names.clone())
            .with("examples", names.into_iter().skip(1).take(1).collect::<Vec<_>>())
            .with_some("deprecated", is_deprecated(&words.options()))
    }

    /// Returns what a oneof says of its field.
    fn oneof(&self, field: &FieldDescriptor) -> String {
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let Some(oneof) = oneof else { return String::new() };
        let others = oneof.fields().filter(|other| other != field);
        let others: Vec<_> = others.map(|other| format!("`{}`", other.name())).collect();
        if others.is_empty() { String::new() } else { format!("Not together with {}.", others.join(", ")) }
    }

    fn name(&self, full_name: &str) -> String {
        let local = full_name.strip_prefix(&self.package).map(|rest| rest.trim_start_matches('.'));
        // A message of ours with a name of google.rpc is refused.
        local.or_else(|| full_name.strip_prefix("google.rpc.")).unwrap_or(full_name).to_owned()
    }
}

/// Whether a field is one that only the server writes.
pub(crate) fn is_output_only(field: &FieldDescriptor) -> bool {
    behaves(field, OUTPUT_ONLY)
}

/// Whether a request must have a field.
pub(crate) fn is_required(field: &FieldDescriptor) -> Result<bool, String> {
    Ok(behaves(field, REQUIRED) || FieldRules::of_field(field)?.required)
}

/// Whether an element is marked as deprecated.
pub(crate) fn is_deprecated(options: &prost_reflect::DynamicMessage) -> bool {
    options.get_field_by_name("deprecated").and_then(|value| value.as_bool()).unwrap_or(false)
}

fn behaves(field: &FieldDescriptor, behavior: i32) -> bool {
    let options = field.options();
    let mut extensions = options.extensions();
    let found = extensions.find(|(extension, _)| extension.full_name() == "google.api.field_behavior");
    let list = found.and_then(|(_, value)| value.as_list());
    list.unwrap_or_default().iter().any(|value| value.as_enum_number() == Some(behavior))
}

/// Whether a message, or a single message in it, has a field that a request must have.
fn has_required(message: &MessageDescriptor) -> bool {
    message.fields().any(|field| {
        let inner = field.kind();
        let inner = inner.as_message().filter(|_| !field.is_list() && !field.is_map());
        let is_inner = |inner: &MessageDescriptor| known::of(inner).is_none() && has_required(inner);
        is_required(&field).unwrap_or(false) || inner.is_some_and(is_inner)
    })
}

fn reference(name: &str) -> Object {
    Object::new().with("$ref", format!("#/components/schemas/{name}"))
}
