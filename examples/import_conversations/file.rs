//! The file: its format, its possible errors, and the customer's name.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The maximum number of characters of a slug.
const SLUG_LENGTH: usize = 63;

/// A line of the file. An unknown field is an error, so that no data is lost silently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Conversation {
    pub(super) id: String,
    #[serde(default)]
    pub(super) scenario: String,
    pub(super) messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) text: String,
    #[serde(default)]
    pub(super) actions: Vec<Action>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    User,
    Assistant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Action {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: String,
    #[serde(default)]
    pub(super) result: String,
}

/// Reads all conversations of a file. An error says what is wrong, and in which line.
pub(super) fn read(file: &Path) -> Result<Vec<Conversation>, String> {
    let place = file.display();
    let bytes = fs::read(file).map_err(|error| format!("{place} cannot be read: {error}."))?;
    let mut ids = HashMap::new();
    let mut conversations = Vec::new();
    let lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    for (number, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        let wrong = |what: String| format!("{place}, line {number}: {what}. Nothing was imported.");
        let conversation: Conversation = serde_json::from_slice(line)
            .map_err(|error| wrong(error.to_string().replace(" at line 1 column ", " at column ")))?;
        if conversation.id.is_empty() {
            return Err(wrong("the id is empty".to_owned()));
        }
        if let Some(before) = ids.insert(conversation.id.clone(), number) {
            return Err(wrong(format!("the id {:?} is that of line {before} too", conversation.id)));
        }
        // No text is invented for a message that has only actions: its author knows what to write.
        if let Some(index) = conversation.messages.iter().position(|message| message.text.is_empty()) {
            return Err(wrong(format!("message {} has no text", index + 1)));
        }
        conversations.push(conversation);
    }
    if conversations.is_empty() { Err(format!("{place} has no conversations.")) } else { Ok(conversations) }
}

/// Returns the customer's name and slug, from the name of the file.
pub(super) fn name_customer(file: &Path) -> Result<(String, String), String> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let words = stem.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let capitalised = words.map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    });
    let name = capitalised.collect::<Vec<_>>().join(" ");
    let slug = deunicode::deunicode(&name).to_lowercase();
    let slug = slug.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let slug = slug.get(..SLUG_LENGTH).unwrap_or(&slug).trim_matches('-').to_owned();
    if slug.is_empty() {
        return Err(format!("The customer is named after the file, and {stem:?} has no letters or digits."));
    }
    Ok((name, slug))
}
