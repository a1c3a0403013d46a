//! Decisions about FAQs that need no database. They are: which questions are the same, how an observation or a
//! check changes a FAQ, and the confidence in it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::observations::store::Observation;
use super::store::Faq;
use crate::contract::validate::Violation;
use crate::db::words::Text;
use crate::error::{Error, Result};
use crate::pb::{ErrorReason, FaqAgreement, FaqObservationKind, FaqSource, FaqStatus, FaqVerificationStatus};
use crate::rpc::fold;

#[cfg(test)]
mod tests;

/// The number of bytes of a normal form that are in a question's key as they are. An index of Postgres takes
/// some 2,700 bytes. A longer form is known by its hash.
const MAX_KEY: usize = 1_024;

/// The punctuation at the ends of a question or an answer that makes no difference.
const PUNCTUATION: &[char] = &[
    '?', '!', '.', ',', ';', ':', '¿', '¡', '"', '\'', '“', '”', '„', '«', '»', '、', '。', '؟', '؛', '،',
    '।',
];

/// The confidence of an observation that sets none.
const UNSAID_CONFIDENCE: f64 = 0.5;

/// The starting point of the confidence, as if three observations had been made and one had agreed. So the
/// first observation changes it much, and the hundredth hardly.
const PRIOR_AGREEING: f64 = 1.0;
const PRIOR_ALL: f64 = 3.0;

/// The largest part of the missing confidence that usage adds, and the number of uses that add half of it.
const USAGE_GAIN: f64 = 0.2;
const USAGE_HALF: f64 = 20.0;

/// The part of the missing confidence that a check adds, by a machine and by a person.
const AI_CHECKED_GAIN: f64 = 0.4;
const HUMAN_VERIFIED_GAIN: f64 = 0.85;

/// The part of the confidence that remains after a dispute.
const DISPUTED_REST: f64 = 0.3;

/// An observation, before its FAQ is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) kind: Text<FaqObservationKind>,
    pub(crate) faq_id: Option<Uuid>,
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) conversation_id: Option<Uuid>,
    pub(crate) message_id: Option<Uuid>,
    pub(crate) confidence: Option<f64>,
    pub(crate) observed_by: String,
    pub(crate) seen_at: DateTime<Utc>,
}

/// The result of a check of a FAQ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Check {
    pub(crate) verification: Text<FaqVerificationStatus>,
    pub(crate) verified_by: String,
    pub(crate) answer: Option<String>,
    pub(crate) status: Option<Text<FaqStatus>>,
}

/// Returns a text in its normal form: without compatibility forms, case, white space, and punctuation at its
/// ends. A text of punctuation alone keeps it.
pub(crate) fn normal(text: &str) -> String {
    fold::settle(text, bare)
}

/// Takes one step to the normal form.
fn bare(text: &str) -> String {
    let folded = fold::fold(text);
    let bare = folded.trim_matches(|end: char| end.is_whitespace() || PUNCTUATION.contains(&end));
    if bare.is_empty() { folded } else { bare.to_owned() }
}

/// Returns the key by which a question is recognised within its customer.
pub(crate) fn question_key(question: &str) -> String {
    fold::key(normal(question), MAX_KEY)
}

/// Returns a FAQ with only a question.
pub(crate) fn blank(id: Uuid, customer_id: Uuid, question: String, now: DateTime<Utc>) -> Faq {
    weighed(Faq {
        id,
        customer_id,
        normalized_question: question_key(&question),
        question,
        answer: String::new(),
        category: String::new(),
        source: Text(FaqSource::Conversation),
        source_conversation_id: None,
        source_message_id: None,
        status: Text(FaqStatus::Candidate),
        verification: Text(FaqVerificationStatus::Unverified),
        verified_by: String::new(),
        verified_at: None,
        reported_confidence: None,
        derived_confidence: 0.0,
        usage_count: 0,
        last_used_at: None,
        created_at: now,
        updated_at: now,
        revision: 1,
        observation_count: 0,
        agreeing_count: 0,
        agreeing_confidence: 0.0,
        conflicting_count: 0,
        conflicting_confidence: 0.0,
        last_observed_at: None,
        active_at: now,
        search_config: String::new(),
    })
}

/// Returns the FAQ that is created for a question that was observed for the first time.
pub(crate) fn opened(sighting: &Sighting, id: Uuid) -> Faq {
    Faq {
        answer: sighting.answer.clone(),
        source_conversation_id: sighting.conversation_id,
        source_message_id: sighting.message_id,
        reported_confidence: sighting.confidence,
        ..blank(id, sighting.customer_id, sighting.question.clone(), sighting.seen_at)
    }
}

/// Refuses an observation whose fields do not fit together.
pub(crate) fn check_sighting(sighting: &Sighting) -> Result<()> {
    let used = sighting.kind.0 == FaqObservationKind::Used;
    let rules = [
        (used && sighting.faq_id.is_none(), "observation.customer_faq_id", "must be set with the kind USED"),
        (
            !used && sighting.faq_id.is_none() && sighting.question.is_empty(),
            "observation.question",
            "must be set without customer_faq_id",
        ),
        (used && !sighting.answer.is_empty(), "observation.answer", "must be empty with the kind USED"),
        origin_rule(sighting.conversation_id, sighting.message_id, "observation.conversation_id"),
    ];
    hold(rules)
}

/// Refuses a FAQ that names a message without its conversation.
pub(crate) fn check_origin(faq: &Faq) -> Result<()> {
    hold([origin_rule(
        faq.source_conversation_id,
        faq.source_message_id,
        "customer_faq.source_conversation_id",
    )])
}

type Rule = (bool, &'static str, &'static str);

fn origin_rule(conversation_id: Option<Uuid>, message_id: Option<Uuid>, field: &'static str) -> Rule {
    (
        message_id.is_some() && conversation_id.is_none(),
        field,
        "must be set with a message, which is looked for in its conversation",
    )
}

/// Returns an error that names every broken rule.
fn hold(rules: impl IntoIterator<Item = Rule>) -> Result<()> {
    let violations: Vec<_> = rules
        .into_iter()
        .filter(|(broken, ..)| *broken)
        .map(|(_, field, description)| Violation {
            field: field.to_owned(),
            rule: "combination",
            description: description.to_owned(),
        })
        .collect();
    if violations.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid { reason: ErrorReason::FieldInvalid, violations })
}

/// Returns the FAQ after an observation, and the row of the observation.
pub(crate) fn observe(current: &Faq, sighting: Sighting) -> (Faq, Observation) {
    let Sighting {
        id,
        customer_id,
        kind,
        faq_id: _,
        question,
        answer,
        conversation_id,
        message_id,
        confidence,
        observed_by,
        seen_at,
    } = sighting;
    let mut faq = current.clone();
    let mut agreement = None;
    if kind.0 == FaqObservationKind::Used {
        faq.usage_count += 1;
        faq.last_used_at = Some(seen_at);
    } else {
        faq.observation_count += 1;
        faq.last_observed_at = Some(seen_at);
        agreement = answered(&mut faq, &answer, confidence.unwrap_or(UNSAID_CONFIDENCE));
    }
    let observation = Observation {
        id,
        customer_id,
        faq_id: faq.id,
        kind,
        question,
        answer,
        agreement: agreement.map(Text),
        conversation_id,
        message_id,
        confidence,
        observed_by,
        created_at: seen_at,
    };
    (weighed(faq), observation)
}

/// Counts an answer. Returns how it agrees with the FAQ's answer.
fn answered(faq: &mut Faq, answer: &str, confidence: f64) -> Option<FaqAgreement> {
    let given = normal(answer);
    if given.is_empty() {
        return None;
    }
    let own = normal(&faq.answer);
    if own.is_empty() {
        answer.clone_into(&mut faq.answer);
        unverify(faq);
    }
    if own.is_empty() || own == given {
        faq.agreeing_count += 1;
        faq.agreeing_confidence += confidence;
        return Some(FaqAgreement::Agrees);
    }
    faq.conflicting_count += 1;
    faq.conflicting_confidence += confidence;
    let open = matches!(faq.status.0, FaqStatus::Candidate | FaqStatus::Approved);
    if open && faq.verification.0 != FaqVerificationStatus::HumanVerified {
        faq.status = Text(FaqStatus::Conflict);
    }
    Some(FaqAgreement::Conflicts)
}

/// Returns the FAQ after a client changed it to `wanted`. Checks and counts of another text are dropped.
pub(crate) fn update(current: &Faq, wanted: Faq) -> Faq {
    let mut faq = Faq { normalized_question: question_key(&wanted.question), ..wanted };
    if faq.question != current.question || faq.answer != current.answer {
        unverify(&mut faq);
    }
    if reanswer(&mut faq, &current.answer) && current.status == faq.status {
        settle(&mut faq, FaqStatus::Candidate);
    }
    if current.status.0 == FaqStatus::Conflict && faq.status.0 != FaqStatus::Conflict {
        settle(&mut faq, FaqStatus::Candidate);
    }
    weighed(faq)
}

/// Returns the FAQ after a check. A machine does not overrule a person.
pub(crate) fn verify(current: &Faq, check: Check, now: DateTime<Utc>) -> Result<Faq> {
    let Check { verification, verified_by, answer, status } = check;
    let disputes = verification.0 == FaqVerificationStatus::Disputed;
    let unanswered = answer.as_ref().unwrap_or(&current.answer).trim().is_empty();
    hold([
        (disputes && answer.is_some(), "answer", "must be empty when the FAQ is disputed"),
        (!disputes && unanswered, "answer", "must be set: the FAQ has none to verify"),
    ])?;
    let machine = verification.0 == FaqVerificationStatus::AiChecked;
    if machine && current.verification.0 == FaqVerificationStatus::HumanVerified {
        return Ok(current.clone());
    }
    let mut faq = Faq { verification, verified_by, verified_at: Some(now), ..current.clone() };
    if let Some(answer) = answer {
        faq.answer = answer;
        reanswer(&mut faq, &current.answer);
    }
    if !disputes {
        settle(&mut faq, if machine { FaqStatus::Candidate } else { FaqStatus::Approved });
    }
    faq.status = status.unwrap_or(faq.status);
    Ok(weighed(faq))
}

/// Returns whether the FAQ has this check already: a repeated check would change nothing but its time.
pub(crate) fn is_checked(current: &Faq, check: &Check) -> bool {
    let Some(verified_at) = current.verified_at else { return false };
    (current.verification, &current.verified_by) == (check.verification, &check.verified_by)
        && verify(current, check.clone(), verified_at).is_ok_and(|again| again == *current)
}

/// Returns the client's fields in which two FAQs with the same question differ.
pub(crate) fn differences(known: &Faq, sent: &Faq) -> Vec<&'static str> {
    differing([
        ("question", known.question == sent.question),
        ("answer", known.answer == sent.answer),
        ("category", known.category == sent.category),
        ("source", known.source == sent.source),
        ("source_conversation_id", known.source_conversation_id == sent.source_conversation_id),
        ("source_message_id", known.source_message_id == sent.source_message_id),
        ("status", known.status == sent.status),
        ("reported_confidence", known.reported_confidence == sent.reported_confidence),
    ])
}

/// Returns the fields in which two observations of one message differ.
pub(crate) fn sighting_differences(known: &Observation, sent: &Sighting) -> Vec<&'static str> {
    differing([
        ("question", known.question == sent.question),
        ("answer", known.answer == sent.answer),
        ("conversation_id", known.conversation_id == sent.conversation_id),
        ("confidence", known.confidence == sent.confidence),
        ("observed_by", known.observed_by == sent.observed_by),
    ])
}

/// Returns the names of the fields that differ.
fn differing(fields: impl IntoIterator<Item = (&'static str, bool)>) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// Marks the FAQ as not checked in its present form.
fn unverify(faq: &mut Faq) {
    faq.verification = Text(FaqVerificationStatus::Unverified);
    faq.verified_by = String::new();
    faq.verified_at = None;
}

/// Resets the counts of agreeing and conflicting observations, if the answer is different now. Returns whether
/// it is.
fn reanswer(faq: &mut Faq, before: &str) -> bool {
    let other = normal(&faq.answer) != normal(before);
    if other {
        faq.agreeing_count = 0;
        faq.agreeing_confidence = 0.0;
        faq.conflicting_count = 0;
        faq.conflicting_confidence = 0.0;
    }
    other
}

/// Settles a conflict of observations. A FAQ with the status CONFLICT gets `status`.
fn settle(faq: &mut Faq, status: FaqStatus) {
    faq.conflicting_count = 0;
    faq.conflicting_confidence = 0.0;
    if faq.status.0 == FaqStatus::Conflict {
        faq.status = Text(status);
    }
}

/// Returns the FAQ with the confidence that follows from its fields.
fn weighed(faq: Faq) -> Faq {
    Faq { derived_confidence: derived_confidence(&faq), ..faq }
}

/// Returns the confidence in a FAQ, as docs/faqs.md shows it. It rises with observations that agree, with usage
/// and with checks, by less each time. It falls with observations that conflict and with a dispute. It is
/// always between 0 and 1.
fn derived_confidence(faq: &Faq) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^53")]
    let usage = faq.usage_count as f64;
    let observed = (PRIOR_AGREEING + faq.agreeing_confidence)
        / (PRIOR_ALL + faq.agreeing_confidence + faq.conflicting_confidence);
    let used = observed + (1.0 - observed) * USAGE_GAIN * usage / (usage + USAGE_HALF);
    match faq.verification.0 {
        FaqVerificationStatus::AiChecked => used + (1.0 - used) * AI_CHECKED_GAIN,
        FaqVerificationStatus::HumanVerified => used + (1.0 - used) * HUMAN_VERIFIED_GAIN,
        FaqVerificationStatus::Disputed => used * DISPUTED_REST,
        FaqVerificationStatus::Unverified | FaqVerificationStatus::Unspecified => used,
    }
}

/// Returns the FAQ as it is written after `before`. A change of its own fields is a new revision; a change of
/// its counts is not.
pub(crate) fn dated(before: &Faq, after: Faq, now: DateTime<Utc>) -> Faq {
    let changed = own(before) != own(&after);
    Faq {
        revision: if changed { before.revision + 1 } else { before.revision },
        updated_at: if changed { now } else { before.updated_at },
        active_at: now,
        ..after
    }
}

/// Returns a FAQ with only its own fields.
fn own(faq: &Faq) -> Faq {
    Faq {
        derived_confidence: 0.0,
        usage_count: 0,
        last_used_at: None,
        observation_count: 0,
        agreeing_count: 0,
        agreeing_confidence: 0.0,
        conflicting_count: 0,
        conflicting_confidence: 0.0,
        last_observed_at: None,
        ..faq.clone()
    }
}

/// Returns whether a FAQ is found by its words.
pub(crate) fn is_usable(status: FaqStatus) -> bool {
    matches!(status, FaqStatus::Candidate | FaqStatus::Approved | FaqStatus::Conflict)
}

/// Returns whether two states of a FAQ are found by the same words.
pub(crate) fn same_words(before: &Faq, after: &Faq) -> bool {
    (&before.question, &before.answer, is_usable(before.status.0))
        == (&after.question, &after.answer, is_usable(after.status.0))
}

/// Returns the error for a FAQ of another customer of this tenant.
pub(crate) fn not_of(id: Uuid, customer_id: Uuid) -> Error {
    Error::Elsewhere {
        reason: ErrorReason::CustomerFaqNotFound,
        message: format!(
            "the FAQ {id} is not of the customer {customer_id} but of another one; ListCustomerFaqs with this \
             customer_id shows its FAQs"
        ),
        kind: "customer_faq",
        name: id.to_string(),
    }
}

/// Returns the error for a FAQ that this tenant does not have.
pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound { reason: ErrorReason::CustomerFaqNotFound, kind: "customer_faq", name: id.to_string() }
}

/// Returns the error for an observation that this tenant does not have.
pub(crate) fn no_observation(id: Uuid) -> Error {
    Error::NotFound {
        reason: ErrorReason::FaqObservationNotFound,
        kind: "faq_observation",
        name: id.to_string(),
    }
}

/// Returns the error for a message that was observed before with other content.
pub(crate) fn observed_otherwise(observation: &Observation, differs: &[&str]) -> Error {
    Error::AlreadyExists {
        reason: ErrorReason::IdempotencyKeyReused,
        message: format!(
            "the FAQ has an observation of this message_id with another {}; send the same content, or observe \
             another message",
            differs.join(", ")
        ),
        kind: "faq_observation",
        name: observation.id.to_string(),
    }
}

/// Returns the error for a question that another FAQ of the customer has. `differs` has the fields in which
/// that FAQ differs from the one to create; empty if no FAQ was to be created.
pub(crate) fn exists(other: Uuid, differs: &[&str]) -> Error {
    let how = match differs {
        [] => String::new(),
        fields => format!(", with another {}", fields.join(", ")),
    };
    Error::AlreadyExists {
        reason: ErrorReason::CustomerFaqExists,
        message: format!("the customer has this question already: {other}{how}; change that FAQ instead"),
        kind: "customer_faq",
        name: other.to_string(),
    }
}

/// Returns the error for a question that another call took at the same time.
pub(crate) fn collided() -> Error {
    Error::Aborted {
        reason: ErrorReason::Conflict,
        message: "another call wrote the same question at once; retry",
    }
}
