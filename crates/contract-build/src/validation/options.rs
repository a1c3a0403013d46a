//! Reads the `buf.validate` options. Rules are taken one by one, and a rule that is left at the end
//! is an error. So no rule is ever ignored.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, OneofDescriptor, Value};

/// The option of a list whose items are checked one by one.
const PER_ITEM: &str = "crm.v1.per_item";

/// The rules of one kind, such as `string`.
pub(crate) struct Rules {
    name: String,
    left: BTreeMap<String, Value>,
}

impl Rules {
    fn none(name: &str) -> Self {
        let name = name.to_owned();
        let left = BTreeMap::new();
        Self { name, left }
    }

    fn read(name: &str, message: &DynamicMessage) -> Result<Self, String> {
        if let Some((extension, _)) = message.extensions().next() {
            let extension = extension.full_name();
            return Err(format!("the predefined rule {name}.({extension}) is not supported"));
        }
        if let Some(field) = message.unknown_fields().next() {
            let number = field.number();
            return Err(format!("the rule {name} has an unknown field {number}"));
        }
        let fields = message.fields();
        Ok(Self {
            name: name.to_owned(),
            left: fields.map(|(field, value)| (field.name().to_owned(), value.clone())).collect(),
        })
    }

    /// The id of one of these rules: `string.max_len`.
    pub(crate) fn id(&self, rule: &str) -> String {
        format!("{}.{rule}", self.name)
    }

    /// Takes a rule, if it is set.
    pub(crate) fn take(&mut self, rule: &str) -> Option<Value> {
        self.left.remove(rule)
    }

    /// Takes a boolean rule; `false` is the same as an unset rule.
    pub(crate) fn take_switch(&mut self, rule: &str) -> bool {
        self.take(rule).and_then(|value| value.as_bool()).unwrap_or(false)
    }

    /// Takes a rule with a length or a count.
    pub(crate) fn take_size(&mut self, rule: &str) -> Option<u64> {
        self.take(rule).and_then(|value| value.as_u64())
    }

    /// Returns a rule with a length or a count, without taking it.
    pub(crate) fn size(&self, rule: &str) -> Option<u64> {
        self.left.get(rule).and_then(Value::as_u64)
    }

    /// Takes a rule with a text.
    pub(crate) fn take_text(&mut self, rule: &str) -> Option<String> {
        self.take(rule).and_then(|value| value.as_str().map(str::to_owned))
    }

    /// Takes a rule with a list; an empty list is the same as an unset rule.
    pub(crate) fn take_list(&mut self, rule: &str) -> Vec<Value> {
        let list = self.take(rule);
        list.and_then(|value| value.as_list().map(<[Value]>::to_vec)).unwrap_or_default()
    }

    /// Takes the rules for the values in a list or a map.
    pub(crate) fn take_inner(&mut self, rule: &str) -> Result<FieldRules, String> {
        let id = self.id(rule);
        let inner = FieldRules::from_value(&id, self.take(rule))?;
        if inner.required {
            return Err(format!("the rule {id}.required has no meaning: what is there is set"));
        }
        Ok(inner)
    }

    /// Fails if a rule was not taken.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(rule) if self.name.is_empty() => Err(format!("the rule {rule} does not fit here")),
            Some(rule) => Err(format!("the rule {} is not supported", self.id(rule))),
        }
    }
}

/// When the rules of a field do not apply.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum Ignore {
    /// If the field tracks presence and is not set.
    #[default]
    Unspecified,
    /// Also if the value is zero or empty.
    IfZeroValue,
    /// Always.
    Always,
}

/// All rules of a field, or of the values in it.
pub(crate) struct FieldRules {
    pub(crate) required: bool,
    pub(crate) ignore: Ignore,
    rules: Rules,
}

impl FieldRules {
    /// Reads the rules of a field.
    pub(crate) fn of_field(field: &FieldDescriptor) -> Result<Self, String> {
        Self::from_value("", option(&field.options(), "buf.validate.field")?)
    }

    fn from_value(name: &str, value: Option<Value>) -> Result<Self, String> {
        let mut rules = match value.as_ref().and_then(Value::as_message) {
            Some(message) => Rules::read(name, message)?,
            None => Rules::none(name),
        };
        let ignore = match rules.take("ignore").and_then(|value| value.as_enum_number()) {
            None | Some(0) => Ignore::Unspecified,
            Some(1) => Ignore::IfZeroValue,
            Some(3) => Ignore::Always,
            Some(number) => return Err(format!("the rule ignore = {number} is not known")),
        };
        let required = rules.take_switch("required");
        if required && ignore != Ignore::Unspecified {
            return Err("the rules required and ignore contradict each other".to_owned());
        }
        Ok(Self { required, ignore, rules })
    }

    /// Returns the rules for a value of the kind `name`, such as `string`. Rules for another kind
    /// are an error.
    pub(crate) fn into_kind(mut self, name: &str) -> Result<Rules, String> {
        let value = self.rules.take(name);
        self.rules.finish()?;
        match value.as_ref().and_then(Value::as_message) {
            Some(message) => Rules::read(name, message),
            None => Ok(Rules::none(name)),
        }
    }

    /// Checks that there are no rules, for a value whose kind supports none.
    pub(crate) fn into_none(self) -> Result<(), String> {
        self.rules.finish()
    }
}

/// Whether the items of a list are checked one by one by the call.
///
/// # Errors
///
/// If the field is not a list.
pub(crate) fn is_per_item(field: &FieldDescriptor) -> Result<bool, String> {
    let options = field.options();
    let mut extensions = options.extensions();
    let found = extensions.find(|(extension, _)| extension.full_name() == PER_ITEM);
    let is_set = found.and_then(|(_, value)| value.as_bool()).unwrap_or(false);
    if is_set && !field.is_list() {
        return Err(format!("the option ({PER_ITEM}) has no meaning: the field is no list"));
    }
    Ok(is_set)
}

/// A rule of a message as a whole, in CEL.
pub(crate) struct MessageRule {
    pub(crate) id: String,
    /// The text for clients.
    pub(crate) message: String,
    pub(crate) expression: String,
}

/// Reads the rules of a message as a whole. Groups of fields are not supported.
pub(crate) fn of_message(message: &MessageDescriptor) -> Result<Vec<MessageRule>, String> {
    let value = option(&message.options(), "buf.validate.message")?;
    let Some(rules) = value.as_ref().and_then(Value::as_message) else { return Ok(Vec::new()) };
    let mut rules = Rules::read("message", rules)?;
    let list = rules.take_list("cel");
    rules.finish()?;
    if list.is_empty() {
        return Err("a rule of the message is not supported".to_owned());
    }
    list.iter().filter_map(Value::as_message).map(MessageRule::read).collect()
}

impl MessageRule {
    fn read(cel: &DynamicMessage) -> Result<Self, String> {
        let mut rules = Rules::read("message.cel", cel)?;
        let mut text = |rule: &str| {
            let text = rules.take_text(rule).filter(|text| !text.is_empty());
            text.ok_or_else(|| format!("the rule message.cel needs a text {rule}"))
        };
        let rule = Self { id: text("id")?, message: text("message")?, expression: text("expression")? };
        rules.finish()?;
        Ok(rule)
    }
}

/// Whether one of the fields of a oneof must be set.
pub(crate) fn is_oneof_required(oneof: &OneofDescriptor) -> Result<bool, String> {
    let value = option(&oneof.options(), "buf.validate.oneof")?;
    let Some(message) = value.as_ref().and_then(Value::as_message) else {
        return Ok(false);
    };
    let mut rules = Rules::read("oneof", message)?;
    let required = rules.take_switch("required");
    rules.finish()?;
    Ok(required)
}

/// Returns the option `supported`. Any other option of buf.validate is an error. So is an option
/// that the pool does not know, since it may be one of them.
fn option(options: &DynamicMessage, supported: &str) -> Result<Option<Value>, String> {
    if let Some(field) = options.unknown_fields().next() {
        return Err(format!("the option {} is not known", field.number()));
    }
    let mut found = None;
    for (extension, value) in options.extensions() {
        let name = extension.full_name();
        if name == supported {
            found = Some(value.clone());
        } else if name.starts_with("buf.validate.") {
            let rules = value.as_message().map(ToString::to_string).unwrap_or_default();
            return Err(format!("the option ({name}) is not supported: {rules}"));
        }
    }
    Ok(found)
}
