//! Compares the requests and answers of producers with the stored messages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crm_backend::pb::MessageStatus;

use super::{Fault, Figures, Kind, Stored};
use crate::log::{Ack, Copy, Entry, Event, Log, Meant, Request, Subject};

/// What all clients together know about one message.
#[derive(Default)]
struct Known {
    sequences: BTreeSet<i32>,
    /// The number of acks which say that their request created the message.
    made: usize,
    /// Whether a request was sent and not always refused.
    maybe: bool,
    /// The longest part of its text that an ack called durable.
    durable: i32,
}

/// Returns the intended message of each subject. All clients of one subject intend the same.
pub(super) fn meant(logs: &[Log]) -> HashMap<&Subject, &Meant> {
    logs.iter().flat_map(|log| &log.meant).collect()
}

pub(super) fn check(logs: &[Log], stored: &Stored, figures: &mut Figures, faults: &mut Vec<Fault>) {
    let mut known = BTreeMap::<&Subject, Known>::new();
    for log in logs {
        let words = log.faults.iter().map(|text| Fault { kind: Kind::Client, text: text.clone() });
        faults.extend(words);
        for (excuse, count) in &log.excuses {
            *figures.excuses.entry(excuse.clone()).or_default() += count;
        }
        check_order(&log.entries, faults);
        for entry in &log.entries {
            learn(entry, known.entry(&entry.subject).or_default(), figures, faults);
        }
    }
    let rows = index(stored, faults);
    figures.stored += rows.len();
    let meant = meant(logs);
    for (subject, known) in &known {
        check_message(subject, known, meant.get(subject).copied(), rows.get(subject).copied(), faults);
    }
    for subject in rows.keys().filter(|subject| !known.contains_key(subject)) {
        faults.push(Fault { kind: Kind::Unsent, text: format!("{subject:?} was never sent") });
    }
}

fn learn(entry: &Entry, known: &mut Known, figures: &mut Figures, faults: &mut Vec<Fault>) {
    match &entry.event {
        Event::Invoke(_) => figures.sent += 1,
        Event::Ok(ack) => {
            let Ack { request, sequence, durable, deduplicated, status: _ } = *ack;
            known.maybe = true;
            known.sequences.insert(sequence);
            if durable < known.durable {
                let text = format!("{:?} had {} durable bytes, then {durable}", entry.subject, known.durable);
                faults.push(Fault { kind: Kind::Lost, text });
            }
            known.durable = known.durable.max(durable);
            // The start of an abandoned message is an effect too.
            known.made += usize::from(request == Some(Request::Whole) && !deduplicated);
            figures.acked += usize::from(request.is_some());
        }
        Event::Fail(_) => figures.refused += 1,
        Event::Unknown => {
            known.maybe = true;
            figures.unknown += 1;
        }
    }
}

/// On each stream, answers must come in the order of the requests.
fn check_order(entries: &[Entry], faults: &mut Vec<Fault>) {
    let mut waiting = HashMap::<u32, VecDeque<(&Subject, Request)>>::new();
    for Entry { stream, subject, event } in entries {
        let waiting = waiting.entry(*stream).or_default();
        let answered = match event {
            Event::Invoke(request) => {
                waiting.push_back((subject, *request));
                continue;
            }
            Event::Ok(Ack { request: None, .. }) => continue,
            Event::Ok(Ack { request: Some(request), .. }) => {
                let front = waiting.front().copied();
                if front == Some((subject, *request)) {
                    waiting.pop_front();
                    continue;
                }
                front
            }
            Event::Fail(_) | Event::Unknown => {
                // Requests without an answer may be logged in any order.
                let place = waiting.iter().position(|(other, _)| *other == subject);
                place.and_then(|place| waiting.remove(place));
                continue;
            }
        };
        let text = format!("stream {stream}: {subject:?} was answered before {answered:?}");
        faults.push(Fault { kind: Kind::Order, text });
    }
}

/// Returns the rows by key, after a check of their sequences.
fn index<'a>(stored: &'a Stored, faults: &mut Vec<Fault>) -> BTreeMap<Subject, &'a Copy> {
    let mut rows = BTreeMap::new();
    for (conversation, copies) in stored {
        for (expected, copy) in (1..).zip(copies) {
            if copy.sequence != expected {
                let text = format!("{conversation} has {} where {expected} should be", copy.sequence);
                faults.push(Fault { kind: Kind::Hole, text });
                break;
            }
        }
        let mut keys = HashSet::new();
        for copy in copies {
            let subject = Subject { conversation: conversation.clone(), key: copy.key.as_str().into() };
            if !keys.insert(copy.key.as_str()) {
                faults.push(Fault { kind: Kind::Twice, text: format!("{subject:?} is there twice") });
            }
            rows.insert(subject, copy);
        }
    }
    rows
}

fn check_message(
    subject: &Subject,
    known: &Known,
    meant: Option<&Meant>,
    row: Option<&Copy>,
    faults: &mut Vec<Fault>,
) {
    let mut fault = |kind, text: String| faults.push(Fault { kind, text: format!("{subject:?} {text}") });
    if known.sequences.len() > 1 {
        fault(Kind::Twice, format!("was acked with {:?}", known.sequences));
    }
    if known.made > 1 {
        fault(Kind::Twice, format!("was added {} times by the acks", known.made));
    }
    let Some(row) = row else {
        if !known.sequences.is_empty() {
            fault(Kind::Lost, format!("was acked with {:?} and is not there", known.sequences));
        }
        return;
    };
    if !known.maybe {
        fault(Kind::Unsent, "was refused each time, and is there".to_owned());
    }
    if known.sequences.iter().any(|sequence| *sequence != row.sequence) {
        fault(Kind::Lost, format!("was acked with {:?} and is {}", known.sequences, row.sequence));
    }
    let Some(meant) = meant else { return };
    if meant.end.is_some_and(|end| end != row.status) {
        fault(Kind::Lost, format!("ended {:?} and is {:?}", meant.end, row.status));
    }
    let kept = usize::try_from(known.durable).expect("an offset");
    if row.text.len() < kept {
        fault(Kind::Lost, format!("has {} bytes and {kept} were durable", row.text.len()));
    }
    let whole = row.status == MessageStatus::Completed;
    if whole && row.text != meant.text || !meant.text.starts_with(&row.text) {
        fault(Kind::Text, format!("is {:?} and should be {:?}", row.text, meant.text));
    }
}
