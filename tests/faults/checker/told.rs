//! Compares the events of a watcher with the stored and the intended messages.

use std::collections::{BTreeMap, HashMap};

use crm_backend::pb::MessageStatus;

use super::{Fault, Figures, Kind, Stored};
use crate::log::{Copy, Meant, Subject, Told, Watched};

/// A message as the watcher knows it.
struct Seen {
    key: String,
    text: String,
    status: MessageStatus,
    /// Whether the text came on this stream. Text from an earlier stream may have been lost since; then the next
    /// snapshot, start or end replaces it.
    told_here: bool,
}

/// The knowledge of one watcher, as it grows.
struct Watcher<'a> {
    watched: &'a Watched,
    meant: &'a HashMap<&'a Subject, &'a Meant>,
    seen: BTreeMap<i32, Seen>,
    faults: &'a mut Vec<Fault>,
}

pub(super) fn check(
    watched: &Watched,
    stored: &Stored,
    meant: &HashMap<&Subject, &Meant>,
    figures: &mut Figures,
    faults: &mut Vec<Fault>,
) {
    let mut watcher = Watcher { watched, meant, seen: BTreeMap::new(), faults };
    for told in &watched.told {
        watcher.learn(told);
    }
    let began = watched.told.iter().filter(|told| **told == Told::Began).count();
    figures.told += watched.told.len() - began;
    figures.resumed += began.saturating_sub(1);
    watcher.compare(stored.get(&watched.conversation).map_or(&[][..], Vec::as_slice));
}

impl Watcher<'_> {
    fn fault(&mut self, kind: Kind, text: &str) {
        let text = format!("a watcher of {} {text}", self.watched.conversation);
        self.faults.push(Fault { kind, text });
    }

    fn learn(&mut self, told: &Told) {
        match told {
            Told::Began => self.seen.values_mut().for_each(|seen| seen.told_here = false),
            Told::Added(copy) => self.add(copy),
            Told::Started(copy) => self.start(copy),
            Told::Delta { sequence, offset, text } => self.append(*sequence, *offset, text),
            Told::Snapshot { sequence, text } => match self.seen.get_mut(sequence) {
                // For an abandoned message: it has restarted, and ended again.
                Some(seen)
                    if seen.status == MessageStatus::InProgress
                        || seen.status == MessageStatus::Incomplete && text.is_empty() =>
                {
                    seen.text.clone_from(text);
                    seen.told_here = true;
                }
                _ => self.fault(Kind::Pieces, &format!("was told a snapshot of {sequence}, not in progress")),
            },
            Told::Finished(copy) => self.end(copy, MessageStatus::Completed),
            Told::Aborted(copy) => self.end(copy, MessageStatus::Incomplete),
            Told::Checkpoint(last) => {
                let known = self.last();
                if *last != known {
                    self.fault(
                        Kind::Skipped,
                        &format!("knows up to {known}, and the checkpoint says {last}"),
                    );
                }
            }
            Told::Refused(text) => self.fault(Kind::Client, &format!("was refused: {text}")),
        }
    }

    fn last(&self) -> i32 {
        self.seen.last_key_value().map_or(0, |(sequence, _)| *sequence)
    }

    /// Whether the message was abandoned and continued, so that it may be reported more than once.
    fn is_reopened(&self, key: &str) -> bool {
        let subject = Subject { conversation: self.watched.conversation.clone(), key: key.into() };
        self.meant.get(&subject).is_some_and(|meant| meant.reopened)
    }

    /// The first event of a message must follow directly on the message before.
    fn first(&mut self, copy: &Copy) {
        let expected = self.last() + 1;
        if copy.sequence != expected {
            self.fault(Kind::Skipped, &format!("was told {} where {expected} comes next", copy.sequence));
        }
        let (key, text) = (copy.key.clone(), copy.text.clone());
        let seen = Seen { key, text, status: copy.status, told_here: true };
        self.seen.insert(copy.sequence, seen);
    }

    fn add(&mut self, copy: &Copy) {
        if copy.status == MessageStatus::InProgress {
            self.fault(Kind::Client, &format!("was told that {} is added, in progress", copy.sequence));
        }
        if self.seen.contains_key(&copy.sequence) {
            self.fault(Kind::Repeated, &format!("was told {} again", copy.sequence));
            return;
        }
        self.first(copy);
    }

    fn start(&mut self, copy: &Copy) {
        if copy.status != MessageStatus::InProgress {
            self.fault(Kind::Client, &format!("was told that {} starts as {:?}", copy.sequence, copy.status));
        }
        let reopened = self.is_reopened(&copy.key);
        match self.seen.get_mut(&copy.sequence) {
            None => self.first(copy),
            // Also if an end between two starts was too short to be seen.
            Some(seen) if seen.status != MessageStatus::Completed && reopened => {
                seen.status = copy.status;
                seen.text.clone_from(&copy.text);
                seen.told_here = true;
            }
            Some(_) => self.fault(Kind::Repeated, &format!("was told the start of {} again", copy.sequence)),
        }
    }

    fn append(&mut self, sequence: i32, offset: i32, text: &str) {
        match self.seen.get_mut(&sequence) {
            Some(seen) if seen.status == MessageStatus::InProgress => {
                let length = i32::try_from(seen.text.len()).expect("a length");
                if offset == length {
                    seen.text.push_str(text);
                } else {
                    let words = format!("was told {sequence} from {offset} on, and knows {length} bytes");
                    self.fault(Kind::Pieces, &words);
                }
            }
            _ => self.fault(Kind::Pieces, &format!("was told a piece of {sequence}, not in progress")),
        }
    }

    fn end(&mut self, copy: &Copy, status: MessageStatus) {
        let reopened = self.is_reopened(&copy.key);
        if copy.status != status {
            self.fault(Kind::Client, &format!("was told the end of {} as {:?}", copy.sequence, copy.status));
        }
        let Some(seen) = self.seen.get_mut(&copy.sequence) else {
            self.fault(Kind::Skipped, &format!("was told the end of {} without it", copy.sequence));
            return;
        };
        let told_here = std::mem::replace(&mut seen.told_here, true);
        let before = std::mem::replace(&mut seen.status, status);
        let text = std::mem::replace(&mut seen.text, copy.text.clone());
        let again = before == MessageStatus::Completed || before == MessageStatus::Incomplete && !reopened;
        if again {
            self.fault(Kind::Repeated, &format!("was told the end of {} again", copy.sequence));
        }
        // Lost text is corrected by a snapshot before the end, however the message ends.
        if told_here && !copy.text.starts_with(&text) {
            let words = format!("put {} together as {text:?}, which ended as {:?}", copy.sequence, copy.text);
            self.fault(Kind::Pieces, &words);
        }
    }

    /// At the end the watcher must know the stored messages.
    fn compare(mut self, rows: &[Copy]) {
        for row in rows {
            match self.seen.remove(&row.sequence) {
                None => self.fault(Kind::Skipped, &format!("was not told {}", row.sequence)),
                Some(seen) if seen.status != row.status => {
                    let words = format!("knows {} as {:?}, not {:?}", row.sequence, seen.status, row.status);
                    self.fault(Kind::Skipped, &words);
                }
                Some(seen) if seen.key != row.key || seen.text != row.text => {
                    let words = format!("knows {} as {:?}, not {:?}", row.sequence, seen.text, row.text);
                    self.fault(Kind::Text, &words);
                }
                Some(_) => {}
            }
        }
        let unknown: Vec<i32> = self.seen.keys().copied().collect();
        if !unknown.is_empty() {
            self.fault(Kind::Unsent, &format!("was told {unknown:?}, which are not there"));
        }
    }
}
