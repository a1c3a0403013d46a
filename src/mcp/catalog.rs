//! The tools as agents see them.

use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::json;

use crate::identity::Scopes;
use crate::pb::AccessScope;

/// The file with all tools.
const TOOLS: &str = include_str!("tools.json");

/// How different a name may be from the one that was meant.
const SLIPS: usize = 3;

/// What a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    FindCustomers,
    GetCustomerContext,
    ReadConversation,
    SearchFaqs,
    NextQuestions,
    SaveCustomer,
    StartConversation,
    AddMessage,
    RecordAnswer,
    RecordFaq,
    EndConversation,
}

/// A tool.
#[derive(Debug)]
pub(super) struct Entry {
    /// What it does.
    pub(super) task: Task,
    /// What a caller's credential must grant.
    pub(super) scope: AccessScope,
    /// The tool as it is sent.
    pub(super) tool: Tool,
}

/// A tool in the file.
#[derive(Deserialize)]
struct Written {
    name: Task,
    title: String,
    description: String,
    scope: Scope,
    properties: JsonObject,
    required: Vec<String>,
}

/// The scopes that a tool may need.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    Read,
    Write,
}

/// All tools, in the order in which they are listed.
pub(super) static CATALOG: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is a part of the program, and a test reads it")]
    let written: Vec<Written> = serde_json::from_str(TOOLS).expect("tools.json has this form");
    written.into_iter().map(Entry::of).collect()
});

/// Returns the tool with this name.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    CATALOG.iter().find(|entry| entry.tool.name == name)
}

/// Returns the tools that a caller with these rights can use.
pub(super) fn granted(scopes: Scopes) -> impl Iterator<Item = &'static Entry> {
    CATALOG.iter().filter(move |entry| scopes.contains(entry.scope))
}

/// Returns the name among these that is probably meant by another.
pub(super) fn nearest<'n>(meant: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.map(|name| (strsim::osa_distance(meant, name), name)).min()?;
    Some(near).filter(|(slips, name)| *slips <= SLIPS && *slips < name.len()).map(|(_, name)| name)
}

impl Entry {
    fn of(written: Written) -> Self {
        let Written { name: task, title, description, scope, properties, required } = written;
        let name = task_name(task);
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), properties.into());
        schema.insert("required".to_owned(), json!(required));
        schema.insert("additionalProperties".to_owned(), json!(false));
        let (scope, annotations) = match scope {
            Scope::Read => (AccessScope::Read, ToolAnnotations::new().read_only(true)),
            Scope::Write => {
                let annotations = ToolAnnotations::new().read_only(false).destructive(false).idempotent(true);
                (AccessScope::Write, annotations)
            }
        };
        let tool = Tool::new(name, description, Arc::new(schema))
            .with_title(title)
            .with_annotations(annotations.open_world(false));
        Self { task, scope, tool }
    }
}

/// Returns the name of a tool.
fn task_name(task: Task) -> &'static str {
    match task {
        Task::FindCustomers => "find_customers",
        Task::GetCustomerContext => "get_customer_context",
        Task::ReadConversation => "read_conversation",
        Task::SearchFaqs => "search_faqs",
        Task::NextQuestions => "next_questions",
        Task::SaveCustomer => "save_customer",
        Task::StartConversation => "start_conversation",
        Task::AddMessage => "add_message",
        Task::RecordAnswer => "record_answer",
        Task::RecordFaq => "record_faq",
        Task::EndConversation => "end_conversation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::Tokenizer;
    use crate::tokens;

    /// The maximum tokens of all tools together: an agent has them in every conversation.
    const BUDGET: i64 = 2_500;

    fn tokens_of<'e>(entries: impl Iterator<Item = &'e Entry>) -> i64 {
        let tools: Vec<_> = entries.map(|entry| &entry.tool).collect();
        tokens::count(Tokenizer::O200kBase, &serde_json::to_string(&tools).expect("JSON"))
    }

    #[test]
    fn all_tools_fit_into_their_budget() {
        let (all, reading) = (tokens_of(CATALOG.iter()), tokens_of(granted(Scopes::of([AccessScope::Read]))));
        assert!(all < BUDGET, "{all} tokens");
        assert!(reading < BUDGET / 2, "{reading} tokens");
    }

    #[test]
    fn a_key_sees_the_tools_of_its_scopes() {
        let names = |scopes: &[AccessScope]| {
            granted(Scopes::of(scopes.iter().copied())).map(|entry| entry.task).collect::<Vec<_>>()
        };
        assert_eq!(names(&[AccessScope::Read]).len(), 5);
        assert_eq!(names(&[AccessScope::Write]).len(), 6);
        assert_eq!(names(&[AccessScope::Read, AccessScope::Write]).len(), 11);
        assert_eq!(names(&[AccessScope::Admin]), []);
    }

    #[test]
    fn every_tool_has_the_name_in_the_file_and_is_found_by_it() {
        let written: Vec<serde_json::Value> = serde_json::from_str(TOOLS).expect("JSON");
        assert_eq!(written.len(), CATALOG.len());
        for (written, entry) in written.iter().zip(CATALOG.iter()) {
            assert_eq!(written["name"], *entry.tool.name);
            assert_eq!(find(&entry.tool.name).map(|found| found.task), Some(entry.task));
        }
    }

    #[test]
    fn schemas_are_flat() {
        for entry in CATALOG.iter() {
            let schema = &entry.tool.input_schema;
            let properties = schema["properties"].as_object().expect("an object");
            for name in schema["required"].as_array().expect("a list") {
                assert!(properties.contains_key(name.as_str().expect("a name")), "{name}");
            }
            for (name, property) in properties {
                let kind = property["type"].as_str().expect("one type");
                assert!(["string", "integer", "boolean", "array"].contains(&kind), "{name} is {kind}");
                assert!(kind != "array" || property["items"]["type"] == "string", "{name}");
                for word in property.get("enum").and_then(|words| words.as_array()).into_iter().flatten() {
                    let word = word.as_str().expect("a word");
                    assert!(
                        word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'),
                        "{word}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_slip_of_the_pen_finds_the_name_that_was_meant() {
        let names = || ["customer", "query", "tag"].into_iter();
        assert_eq!(nearest("custmer", names()), Some("customer"));
        assert_eq!(nearest("Query", names()), Some("query"));
        assert_eq!(nearest("xyz", names()), None);
        assert_eq!(nearest("conversation", names()), None);
    }
}
