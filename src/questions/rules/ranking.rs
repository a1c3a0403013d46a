//! Ranks the questions to ask next, and explains which not to ask.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use super::{as_of, is_open};
use crate::contract::Word;
use crate::customers::field::{CustomerFields, Field};
use crate::customers::model::Customer;
use crate::error::Result;
use crate::pb::{
    CustomerStatus, PendingQuestionStatus as Status, Priority, QuestionLeftOutReason as Reason,
    QuestionTiming,
};
use crate::questions::store::Question;
use crate::rpc::fold::fold;
use crate::rpc::split::{self, Piece};

/// The score of a step of priority: more than all other parts together, so that priority decides first.
const PRIORITY: i32 = 1_000;

/// The score of a word that the question and the conversation share.
const WORD: i32 = 20;

/// The limit of shared words that count: five show the topic as surely as fifty.
const MAX_WORDS: usize = 5;

/// The loss of score each time that a question was asked without an answer.
const ATTEMPT: i32 = 30;

/// The limit of attempts: a customer that did not answer five times will not answer.
const MAX_ATTEMPTS: i32 = 5;

/// The minimum of letters of a word that shows the topic of a text. Shorter words are mostly grammar.
const MIN_LETTERS: usize = 4;

/// Longer words that most questions have, and that do not show the topic either.
const GRAMMAR: [&str; 24] = [
    "about", "could", "does", "from", "have", "know", "like", "many", "much", "please", "should", "tell",
    "that", "their", "there", "they", "this", "want", "what", "when", "where", "which", "with", "your",
];

/// The questions of a customer that are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates {
    /// The questions that may be asked.
    pub(crate) open: Vec<Question>,
    /// The questions that the customer declined.
    pub(crate) declined: Vec<Question>,
    /// The questions that the customer answered.
    pub(crate) answered: Vec<Question>,
}

impl Candidates {
    /// Sorts these questions by their status.
    pub(crate) fn of(questions: Vec<Question>) -> Self {
        let mut candidates = Self::default();
        for question in questions {
            match question.status.0 {
                Status::Declined => candidates.declined.push(question),
                Status::Answered | Status::Verified => candidates.answered.push(question),
                _ => candidates.open.push(question),
            }
        }
        candidates
    }
}

/// The customer to ask, the time and the conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) now: DateTime<Utc>,
    /// The conversation in which to ask; `None` for one that has not begun.
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) customer: &'a Customer,
    /// The topic of the conversation: the customer's last messages, and the caller's own words.
    pub(crate) texts: &'a [String],
}

/// The questions to ask, the best first, and those not to ask.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Ranking {
    pub(crate) questions: Vec<Next>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// A question to ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Next {
    pub(crate) question: Question,
    pub(crate) score: i32,
    pub(crate) reason: String,
}

/// A question not to ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LeftOut {
    pub(crate) id: Uuid,
    pub(crate) question: String,
    pub(crate) reason: Reason,
    pub(crate) explanation: String,
}

/// Ranks the questions that may be asked now, at most `limit`, and returns those that may not. Neither depends
/// on the order of the candidates.
///
/// # Errors
///
/// None that a client could cause.
pub(crate) fn rank(candidates: &Candidates, situation: &Situation<'_>, limit: usize) -> Result<Ranking> {
    let judge = Judge::new(candidates, situation)?;
    let mut open: Vec<_> =
        candidates.open.iter().filter(|open| is_open(&as_of((*open).clone(), situation.now))).collect();
    open.sort_by_key(|open| (Reverse(priority(open)), open.attempt_count, open.created_at, open.id));
    let mut questions = Vec::new();
    let mut left_out = Vec::new();
    for (place, question) in open.into_iter().enumerate() {
        match judge.judge(question) {
            Ok((score, reason)) => {
                questions.push((place, Next { question: question.clone(), score, reason }))
            }
            Err((reason, explanation)) => left_out.push((place, without(question, reason, explanation))),
        }
    }
    questions.sort_by_key(|(_, next)| (Reverse(next.score), next.question.created_at, next.question.id));
    let mut best: BTreeMap<String, Uuid> = BTreeMap::new();
    questions.retain(|(place, next)| {
        let first = *best.entry(normal(&next.question.question)).or_insert(next.question.id);
        if first != next.question.id {
            let explanation = format!("question {first} has the same words and comes before it");
            left_out.push((*place, without(&next.question, Reason::Duplicate, explanation)));
        }
        first == next.question.id
    });
    left_out.sort_by_key(|(place, _)| *place);
    let questions = questions.into_iter().map(|(_, next)| next).take(limit).collect();
    let left_out = left_out.into_iter().map(|(_, left_out)| left_out).chain(judge.closed()).collect();
    Ok(Ranking { questions, left_out })
}

/// The score and its reason, or the reason why not to ask, each also in words.
type Verdict = std::result::Result<(i32, String), (Reason, String)>;

/// All that is known before a question is judged.
struct Judge<'a> {
    candidates: &'a Candidates,
    situation: Situation<'a>,
    known: CustomerFields,
    words: BTreeSet<String>,
    declined_texts: BTreeSet<String>,
    declined_fields: BTreeSet<&'a str>,
    answered_texts: BTreeSet<String>,
}

impl<'a> Judge<'a> {
    fn new(candidates: &'a Candidates, situation: &Situation<'a>) -> Result<Self> {
        let texts =
            |questions: &[Question]| questions.iter().map(|closed| normal(&closed.question)).collect();
        let fields = candidates.declined.iter().map(|declined| declined.target_field.as_str());
        Ok(Self {
            candidates,
            situation: *situation,
            known: CustomerFields::of(situation.customer)?,
            words: situation.texts.iter().flat_map(|text| words(text)).collect(),
            declined_texts: texts(&candidates.declined),
            declined_fields: fields.filter(|field| !field.is_empty()).collect(),
            answered_texts: texts(&candidates.answered),
        })
    }

    /// Returns the score of a question and its parts, or why it must not be asked now.
    fn judge(&self, question: &Question) -> Verdict {
        self.check_customer(question)?;
        self.check_history(question)?;
        let shared: Vec<_> = words(&format!("{} {}", question.question, question.purpose))
            .into_iter()
            .filter(|word| self.words.contains(word))
            .take(MAX_WORDS)
            .collect();
        let (timing, when) = self.due(question, !shared.is_empty())?;
        let (priority, how) = (priority(question), priority_words(question.priority.0));
        let asked = match question.attempt_count {
            ..1 => "not asked yet".to_owned(),
            1 => "asked once".to_owned(),
            attempts => format!("asked {attempts} times"),
        };
        let mut parts = vec![how.to_owned(), when, asked];
        let relevance: i32 = shared.iter().map(|_| WORD).sum();
        if !shared.is_empty() {
            parts.push(format!("in common with the talk: {}", shared.join(", ")));
        }
        Ok((PRIORITY * priority + timing + relevance - ATTEMPT * question.attempt_count, parts.join("; ")))
    }

    /// Checks the customer's status, the declined and the answered questions, and the filled fields.
    fn check_customer(&self, question: &Question) -> std::result::Result<(), (Reason, String)> {
        let field = question.target_field.as_str();
        let text = normal(&question.question);
        if self.situation.customer.status.0 == CustomerStatus::Blocked {
            return Err((
                Reason::CustomerBlocked,
                "the customer is BLOCKED; nothing is to be asked".to_owned(),
            ));
        }
        if self.declined_fields.contains(field) {
            return Err((Reason::Declined, format!("the customer declined another question for {field}")));
        }
        if self.declined_texts.contains(&text) {
            return Err((Reason::Declined, "the customer declined a question of the same words".to_owned()));
        }
        if self.answered_texts.contains(&text) {
            return Err((Reason::Answered, "the customer answered a question of the same words".to_owned()));
        }
        // A field that no longer exists is not known.
        if !field.is_empty() && Field::parse(field).is_ok_and(|field| self.known.has(&field)) {
            return Err((Reason::Known, format!("the customer's {field} is filled")));
        }
        Ok(())
    }

    /// Checks how often, when and where it was asked.
    fn check_history(&self, question: &Question) -> std::result::Result<(), (Reason, String)> {
        let Situation { now, conversation_id, .. } = self.situation;
        if question.attempt_count >= MAX_ATTEMPTS {
            return Err((
                Reason::Exhausted,
                format!("asked {} times without an answer", question.attempt_count),
            ));
        }
        if let Some(until) = question.cooldown_until.filter(|until| *until > now) {
            return Err((Reason::CoolingDown, format!("not to be asked again before {}", shown(until))));
        }
        if conversation_id.is_some() && conversation_id == question.asked_conversation_id {
            return Err((Reason::AskedHere, "asked in this conversation already".to_owned()));
        }
        Ok(())
    }

    /// Returns the score of the timing of a question, or why it is not due.
    fn due(&self, question: &Question, is_relevant: bool) -> Verdict {
        let Situation { now, conversation_id, customer, .. } = self.situation;
        let status = customer.status.0;
        let not_due = |why: String| Err((Reason::NotDue, why));
        match question.timing.0 {
            QuestionTiming::Immediate => Ok((100, "to be asked at once".to_owned())),
            QuestionTiming::Unspecified | QuestionTiming::NextMessage => {
                Ok((80, "to be asked with the next message".to_owned()))
            }
            QuestionTiming::Scheduled => match question.scheduled_at {
                Some(at) if at > now => not_due(format!("not to be asked before {}", shown(at))),
                _ => Ok((90, "its time has come".to_owned())),
            },
            QuestionTiming::BeforePurchase => match status {
                CustomerStatus::Lead | CustomerStatus::Prospect => {
                    Ok((60, format!("before a purchase, and the customer is {}", status.word())))
                }
                _ => not_due(format!("only before a purchase, and the customer is {}", status.word())),
            },
            QuestionTiming::AfterPurchase => match status {
                CustomerStatus::Active | CustomerStatus::Inactive => {
                    Ok((60, format!("after a purchase, and the customer is {}", status.word())))
                }
                _ => not_due(format!("only after a purchase, and the customer is {}", status.word())),
            },
            QuestionTiming::WhenRelevant if is_relevant => Ok((40, "the talk is about it".to_owned())),
            QuestionTiming::WhenRelevant => {
                Err((Reason::NotRelevant, "only when the talk is about it, which it is not".to_owned()))
            }
            QuestionTiming::NextConversation => {
                if conversation_id.is_some() && conversation_id == question.source_conversation_id {
                    return not_due("not in the conversation that it came out of".to_owned());
                }
                Ok((20, "for another conversation than it came out of".to_owned()))
            }
        }
    }

    /// Returns the closed questions: first the declined ones, then the answered ones, each the latest first.
    fn closed(&self) -> impl Iterator<Item = LeftOut> {
        let mut declined: Vec<_> = self.candidates.declined.iter().collect();
        declined.sort_by_key(|question| Reverse((question.skipped_at, question.id)));
        let mut answered: Vec<_> = self.candidates.answered.iter().collect();
        answered.sort_by_key(|question| Reverse((question.answered_at, question.id)));
        let declined = declined
            .into_iter()
            .map(|question| without(question, Reason::Declined, "the customer declined it".to_owned()));
        let answered = answered
            .into_iter()
            .map(|question| without(question, Reason::Answered, "the customer answered it".to_owned()));
        declined.chain(answered)
    }
}

fn without(question: &Question, reason: Reason, explanation: String) -> LeftOut {
    LeftOut { id: question.id, question: question.question.clone(), reason, explanation }
}

/// Returns the priority of a question, from 1 to 4.
fn priority(question: &Question) -> i32 {
    question.priority.0.into()
}

fn priority_words(priority: Priority) -> &'static str {
    match priority {
        Priority::Urgent => "urgent",
        Priority::High => "of high priority",
        Priority::Normal | Priority::Unspecified => "of normal priority",
        Priority::Low => "of low priority",
    }
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Returns a text without the differences that do not matter. Questions with the same result are the same.
fn normal(text: &str) -> String {
    let folded = fold(text);
    let pieces: Vec<_> = split::pieces(&folded).map(Piece::text).collect();
    if pieces.is_empty() { folded } else { pieces.join(" ") }
}

/// Returns the words that show the topic of a text.
fn words(text: &str) -> BTreeSet<String> {
    let says_something = |word: &&str| word.chars().count() >= MIN_LETTERS && !GRAMMAR.contains(word);
    let mut words = BTreeSet::new();
    for piece in split::pieces(&fold(text)) {
        match piece {
            Piece::Word(word) => words.extend(Some(word).filter(says_something).map(str::to_owned)),
            Piece::Run(run) => words.extend(split::pairs(run).map(str::to_owned)),
        }
    }
    words
}

#[cfg(test)]
mod tests;
