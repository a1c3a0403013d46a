//! The words of a context: the service's own words, and text from data, which is quoted.
//!
//! All text of a context goes through this module. The service's own words are literals, so no text from a row
//! can be taken for them. Text from a row has only one way in, which quotes it. So text of a customer, a tool
//! or a model begins no heading, no item and no line of the service's own.

use crate::conversations::messages::quote::is_line_break;

/// Characters with which a block of Markdown may begin. At the beginning of an item they are escaped.
const BLOCKS: [char; 10] = ['#', '-', '+', '*', '>', '=', '~', '`', '|', '<'];

/// The text of an item, to which more is added.
#[derive(Debug, Clone)]
pub(super) struct Words {
    text: String,
    /// The number of spaces by which the lines after the first are indented.
    indent: usize,
}

impl Words {
    /// Begins the words of an item of a list.
    pub(super) fn new() -> Self {
        Self::indented(2)
    }

    /// Begins words whose lines after the first are indented by so many spaces.
    pub(super) fn indented(indent: usize) -> Self {
        Self { text: String::new(), indent }
    }

    /// Adds words of the service's own.
    pub(super) fn ours(mut self, words: &'static str) -> Self {
        self.text.push_str(words);
        self
    }

    /// Begins another line of the service's own.
    pub(super) fn line(mut self) -> Self {
        self.break_line();
        self
    }

    /// Adds text from data. Its first line continues the words before it, and its other lines are a quotation.
    /// Empty lines are left out.
    pub(super) fn data(mut self, text: &str) -> Self {
        let mut lines = text.split(is_line_break).map(str::trim_end).filter(|line| !line.is_empty());
        let Some(first) = lines.next() else { return self };
        if self.text.is_empty() {
            self.begin(first);
        } else {
            self.text.push_str(first);
        }
        for line in lines {
            self.break_line();
            self.text.push_str("> ");
            self.text.push_str(line);
        }
        self
    }

    /// Adds text from data as one line: line breaks become spaces.
    pub(super) fn name(mut self, text: &str) -> Self {
        let is_first = self.text.is_empty();
        let line: String =
            text.chars().map(|character| if is_line_break(character) { ' ' } else { character }).collect();
        if is_first {
            self.begin(&line);
        } else {
            self.text.push_str(&line);
        }
        self
    }

    /// Returns the text so far.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn break_line(&mut self) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', self.indent));
    }

    /// Adds text from data at the beginning of an item, where a sign could make another block of it.
    fn begin(&mut self, line: &str) {
        let line = line.trim_start();
        let number = line.trim_start_matches(|character: char| character.is_ascii_digit());
        let is_numbered = number.len() < line.len() && number.starts_with(['.', ')']);
        if is_numbered {
            let (digits, rest) = line.split_at(line.len() - number.len());
            self.text.extend([digits, "\\", rest]);
            return;
        }
        if line.starts_with(BLOCKS) {
            self.text.push('\\');
        }
        self.text.push_str(line);
    }
}
