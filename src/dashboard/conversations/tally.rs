//! What is said of conversations, counted one by one. No I/O.
//!
//! Postgres would take three times as long to take the JSON of an analysis apart and to count what is in it.
//! Only how texts are compared is its own (`lower`), so that a count and the list of its rows agree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Topics and questions at most, of each: what a person takes in.
const MAX_TEXTS: usize = 20;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Sentiment,
    Topic,
    Question,
    Objection,
}

/// How many conversations something is said of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Saying {
    said: Said,
    /// Of texts that differ by case only, the smallest that was said.
    pub(super) value: String,
    pub(super) conversations: i64,
    /// Of an objection, how many have one that is not resolved.
    pub(super) unresolved: i64,
}

impl Saying {
    /// Whether it is such a saying.
    pub(super) fn is(&self, said: Said) -> bool {
        self.said == said
    }
}

/// What the latest analysis of a conversation says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Analysis {
    pub(super) sentiment: Option<String>,
    pub(super) topics: Vec<String>,
    pub(super) questions: Vec<String>,
    /// The kind of each, and whether it is open.
    pub(super) objections: Vec<(String, bool)>,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sentiments: HashMap<String, i64>,
    topics: Texts,
    questions: Texts,
    /// How many conversations have an objection of a kind, and how many an open one.
    objections: HashMap<String, (i64, i64)>,
}

impl Tally {
    /// Counts a conversation.
    pub(super) fn add(&mut self, analysis: Analysis) {
        let Analysis { sentiment, topics, questions, objections } = analysis;
        if let Some(sentiment) = sentiment {
            *self.sentiments.entry(sentiment).or_default() += 1;
        }
        self.topics.add(topics);
        self.questions.add(questions);
        let mut kinds: HashMap<String, bool> = HashMap::new();
        for (kind, is_open) in objections {
            *kinds.entry(kind).or_default() |= is_open;
        }
        for (kind, is_open) in kinds {
            let (conversations, open) = self.objections.entry(kind).or_default();
            *conversations += 1;
            *open += i64::from(is_open);
        }
    }

    /// Each different text that was said, topics first.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut texts = self.topics.in_order();
        texts.extend(self.questions.in_order());
        texts
    }

    /// What is said, of each kind what is said of most first. `folded` are [`Tally::texts`] in the form in which
    /// they are compared.
    pub(super) fn sayings(&self, folded: &[String]) -> Vec<Saying> {
        let (topics, questions) = folded.split_at(self.topics.numbers.len().min(folded.len()));
        let mut sayings = Vec::new();
        let sentiments = self.sentiments.iter().map(|(label, count)| (label.as_str(), *count, 0));
        sayings.extend(most_first(Said::Sentiment, sentiments, usize::MAX));
        sayings.extend(most_first(Said::Topic, self.topics.count(topics), MAX_TEXTS));
        sayings.extend(most_first(Said::Question, self.questions.count(questions), MAX_TEXTS));
        let objections = self.objections.iter().map(|(kind, (count, open))| (kind.as_str(), *count, *open));
        sayings.extend(most_first(Said::Objection, objections, usize::MAX));
        sayings
    }
}

fn most_first<'t>(
    said: Said,
    counts: impl IntoIterator<Item = (&'t str, i64, i64)>,
    limit: usize,
) -> Vec<Saying> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by(|(one, count, _), (other, other_count, _)| {
        other_count.cmp(count).then_with(|| one.cmp(other))
    });
    counts.truncate(limit);
    let saying = |(value, conversations, unresolved): (&str, i64, i64)| Saying {
        said,
        value: value.to_owned(),
        conversations,
        unresolved,
    };
    counts.into_iter().map(saying).collect()
}

/// Texts, each kept once, and which of them each conversation has.
#[derive(Debug, Default)]
struct Texts {
    /// Each different text, with its number from 0.
    numbers: HashMap<String, usize>,
    /// The numbers of the texts of all conversations, one after the other.
    said: Vec<usize>,
    /// Where those of each conversation end.
    ends: Vec<usize>,
}

impl Texts {
    fn add(&mut self, texts: Vec<String>) {
        if texts.is_empty() {
            return;
        }
        for text in texts {
            let next = self.numbers.len();
            self.said.push(*self.numbers.entry(text).or_insert(next));
        }
        self.ends.push(self.said.len());
    }

    fn in_order(&self) -> Vec<&str> {
        let mut texts: Vec<_> = self.numbers.iter().map(|(text, number)| (*number, text.as_str())).collect();
        texts.sort_unstable();
        texts.into_iter().map(|(_, text)| text).collect()
    }

    /// How many conversations have a text that is compared as one, by the smallest of them.
    fn count(&self, folded: &[String]) -> Vec<(&str, i64, i64)> {
        let mut groups: Vec<(&str, i64, i64)> = Vec::new();
        let mut by_form: HashMap<&str, usize> = HashMap::new();
        let mut group_of = Vec::with_capacity(folded.len());
        for (text, form) in self.in_order().into_iter().zip(folded) {
            let group = match by_form.entry(form) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    groups.push((text, 0, 0));
                    *new.insert(groups.len() - 1)
                }
            };
            groups[group].0 = groups[group].0.min(text);
            group_of.push(group);
        }
        let mut begin = 0;
        let mut of_one: Vec<usize> = Vec::new();
        for end in &self.ends {
            of_one.clear();
            of_one.extend(self.said[begin..*end].iter().filter_map(|number| group_of.get(*number).copied()));
            of_one.sort_unstable();
            of_one.dedup();
            of_one.iter().for_each(|group| groups[*group].1 += 1);
            begin = *end;
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analysis(topics: &[&str], objections: &[(&str, bool)]) -> Analysis {
        Analysis {
            topics: topics.iter().map(ToString::to_string).collect(),
            objections: objections.iter().map(|(kind, open)| ((*kind).to_owned(), *open)).collect(),
            ..Analysis::default()
        }
    }

    fn counted(analyses: Vec<Analysis>) -> Vec<(Said, String, i64, i64)> {
        let mut tally = Tally::default();
        analyses.into_iter().for_each(|analysis| tally.add(analysis));
        let folded: Vec<_> = tally.texts().into_iter().map(str::to_lowercase).collect();
        let sayings = tally.sayings(&folded).into_iter();
        sayings.map(|saying| (saying.said, saying.value, saying.conversations, saying.unresolved)).collect()
    }

    #[test]
    fn a_conversation_counts_once_for_what_is_compared_as_one() {
        let analyses = vec![
            analysis(&["Bread", "bread", "BREAD", "milk"], &[]),
            analysis(&["bread"], &[]),
            analysis(&[], &[]),
        ];
        let topic = |value: &str, count| (Said::Topic, value.to_owned(), count, 0);
        assert_eq!(counted(analyses), [topic("BREAD", 2), topic("milk", 1)]);
    }

    #[test]
    fn an_objection_is_open_where_one_of_its_kind_is() {
        let analyses = vec![
            analysis(&[], &[("PRICE", false), ("PRICE", true), ("TIMING", false)]),
            analysis(&[], &[("PRICE", false)]),
        ];
        let objection = |value: &str, count, open| (Said::Objection, value.to_owned(), count, open);
        assert_eq!(counted(analyses), [objection("PRICE", 2, 1), objection("TIMING", 1, 0)]);
    }

    #[test]
    fn the_twenty_that_are_said_most_come_first_and_equals_by_name() {
        let names: Vec<String> = (0..30).map(|number| format!("topic {number:02}")).collect();
        let of = |name: &String| analysis(&[name], &[]);
        let mut analyses: Vec<_> = names.iter().rev().map(of).collect();
        analyses.push(of(&names[29]));
        let found: Vec<_> = counted(analyses).into_iter().map(|(_, value, ..)| value).collect();
        assert_eq!((found.len(), found[0].as_str(), found[1].as_str()), (20, "topic 29", "topic 00"));
    }

    #[test]
    fn nothing_said_is_nothing_counted() {
        assert_eq!(counted(vec![Analysis::default()]), []);
        assert_eq!(Tally::default().sayings(&[]), []);
    }
}
