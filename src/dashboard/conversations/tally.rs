//! Counts the content of analyses, one conversation after another. No I/O.
//!
//! Postgres would take three times as long to take the JSON of an analysis apart and to count its content.
//! Texts are compared as lists compare them, so that a count and the list of its rows agree.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::store::analyses::{Analysis, Compared, Objection};
use crate::contract::Word;
use crate::error::{Error, Result};
use crate::pb::ObjectionStatus;

/// The limit of topics, and of questions, in an answer: as many as a person can read.
const MAX_TEXTS: usize = 20;

/// The limit of the bytes of different topics and questions in one answer. As a rule, half a million
/// conversations have that many if no question is asked twice.
const MAX_BYTES: usize = 64 << 20;

/// The kind of a saying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Sentiment,
    Topic,
    Question,
    Objection,
}

/// How many conversations have a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Saying {
    said: Said,
    /// The value. Of texts that are compared as equal, the smallest one.
    pub(super) value: String,
    pub(super) conversations: i64,
    /// For an objection, the number of conversations in which it is not resolved.
    pub(super) unresolved: i64,
}

impl Saying {
    /// Returns whether it is of this kind.
    pub(super) fn is(&self, said: Said) -> bool {
        self.said == said
    }
}

/// The counts so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sentiments: HashMap<String, i64>,
    topics: Texts,
    questions: Texts,
    /// For each kind of objection, the number of conversations that have one, and that have an open one.
    objections: HashMap<String, (i64, i64)>,
}

impl Tally {
    /// Counts a conversation.
    ///
    /// # Errors
    ///
    /// If there are too many different texts to be counted at once.
    pub(super) fn add(&mut self, analysis: Analysis) -> Result<()> {
        let Analysis { sentiment, topics, questions, objections } = analysis;
        if let Some(sentiment) = sentiment {
            *self.sentiments.entry(sentiment).or_default() += 1;
        }
        self.topics.add(topics);
        self.questions.add(questions);
        let mut kinds: HashMap<String, bool> = HashMap::new();
        for Objection { kind, status } in objections {
            *kinds.entry(kind).or_default() |= status != ObjectionStatus::Resolved.word();
        }
        for (kind, is_open) in kinds {
            let (conversations, open) = self.objections.entry(kind).or_default();
            *conversations += 1;
            *open += i64::from(is_open);
        }
        if self.topics.bytes + self.questions.bytes > MAX_BYTES {
            let description = "must be later: analyses since then have more than 64 MiB of different topics and \
                               questions";
            return Err(Error::invalid("time_from", "timestamp.within", description));
        }
        Ok(())
    }

    /// Returns the sayings, those of each kind with the largest count first.
    pub(super) fn into_sayings(self) -> Vec<Saying> {
        let Self { sentiments, topics, questions, objections } = self;
        let sentiments = sentiments.into_iter().map(|(label, count)| (label, count, 0));
        let objections = objections.into_iter().map(|(kind, (count, open))| (kind, count, open));
        let mut sayings = most_first(Said::Sentiment, sentiments, usize::MAX);
        sayings.extend(most_first(Said::Topic, topics.counts(), MAX_TEXTS));
        sayings.extend(most_first(Said::Question, questions.counts(), MAX_TEXTS));
        sayings.extend(most_first(Said::Objection, objections, usize::MAX));
        sayings
    }
}

fn most_first(said: Said, counts: impl Iterator<Item = (String, i64, i64)>, limit: usize) -> Vec<Saying> {
    let saying = |(value, conversations, unresolved)| Saying { said, value, conversations, unresolved };
    let mut sayings: Vec<_> = counts.map(saying).collect();
    sayings.sort_unstable_by(|one, other| {
        other.conversations.cmp(&one.conversations).then_with(|| one.value.cmp(&other.value))
    });
    sayings.truncate(limit);
    sayings
}

/// The number of conversations that have a text, by the form in which texts are compared, with the smallest
/// text of each form.
#[derive(Debug, Default)]
struct Texts {
    by_form: HashMap<String, (String, i64)>,
    bytes: usize,
}

impl Texts {
    /// Counts the texts of a conversation, each form once.
    fn add(&mut self, mut texts: Vec<Compared>) {
        // The smallest text of a form comes first.
        texts.sort_unstable();
        texts.dedup_by(|later, first| later.form == first.form);
        for Compared { form, text } in texts {
            match self.by_form.entry(form) {
                Entry::Occupied(mut known) => {
                    let (smallest, conversations) = known.get_mut();
                    *conversations += 1;
                    if text < *smallest {
                        *smallest = text;
                    }
                }
                Entry::Vacant(new) => {
                    self.bytes += new.key().len() + text.len();
                    new.insert((text, 1));
                }
            }
        }
    }

    fn counts(self) -> impl Iterator<Item = (String, i64, i64)> {
        self.by_form.into_values().map(|(text, conversations)| (text, conversations, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analysis(topics: &[&str], objections: &[(&str, ObjectionStatus)]) -> Analysis {
        let compared =
            |text: &&str| Compared { form: crate::rpc::fold::fold(text), text: (*text).to_owned() };
        let objection = |(kind, status): &(&str, ObjectionStatus)| Objection {
            kind: (*kind).to_owned(),
            status: status.word().to_owned(),
        };
        Analysis {
            sentiment: None,
            topics: topics.iter().map(compared).collect(),
            questions: Vec::new(),
            objections: objections.iter().map(objection).collect(),
        }
    }

    fn counted(analyses: Vec<Analysis>) -> Vec<(Said, String, i64, i64)> {
        let mut tally = Tally::default();
        analyses.into_iter().for_each(|analysis| tally.add(analysis).expect("not too much"));
        let sayings = tally.into_sayings().into_iter();
        sayings.map(|saying| (saying.said, saying.value, saying.conversations, saying.unresolved)).collect()
    }

    #[test]
    fn a_conversation_counts_once_for_what_is_compared_as_one() {
        let analyses = vec![
            analysis(&["Bread", "bread", "milk", "BREAD"], &[]),
            analysis(&["bread"], &[]),
            analysis(&[], &[]),
        ];
        let topic = |value: &str, count| (Said::Topic, value.to_owned(), count, 0);
        assert_eq!(counted(analyses), [topic("BREAD", 2), topic("milk", 1)]);
        let later = vec![analysis(&["bread"], &[]), analysis(&["Bread"], &[])];
        assert_eq!(counted(later), [topic("Bread", 2)], "the smallest of all conversations");
    }

    #[test]
    fn an_objection_is_open_where_one_of_its_kind_is() {
        use ObjectionStatus::{Raised, Resolved};
        let analyses = vec![
            analysis(&[], &[("PRICE", Resolved), ("PRICE", Raised), ("TIMING", Resolved)]),
            analysis(&[], &[("PRICE", Resolved)]),
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
        assert_eq!(counted(vec![analysis(&[], &[])]), []);
    }

    #[test]
    fn what_is_held_is_bounded_and_repeats_take_nothing() {
        let mut tally = Tally::default();
        let long = "x".repeat(1 << 20);
        let mut say = |number: usize| tally.add(analysis(&[&format!("{long}{number}")], &[]));
        for _ in 0..100 {
            say(0).expect("the same");
        }
        let refused = (1..100).find_map(|number| say(number).err()).expect("too much");
        assert!(refused.to_string().contains("time_from"), "{refused}");
    }
}
