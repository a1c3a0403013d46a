//! The words of FAQs and queries, and the ranking of FAQs that have words of a query.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;
use uuid::Uuid;

use super::model::{Posting, Weight};
use crate::faqs::rules::question_key;
use crate::numbers;
use crate::rpc::fold::fold;
use crate::rpc::split::{self, Piece};

/// The weights of the parts of a score. Words decide. Of FAQs with the same words, those with more confidence
/// and the newer ones come first.
const TEXT_WEIGHT: f64 = 0.7;
const CONFIDENCE_WEIGHT: f64 = 0.2;
const RECENCY_WEIGHT: f64 = 0.1;

/// The number of seconds after which a FAQ is half as recent: 90 days.
const HALF_LIFE_S: f64 = 90.0 * 86_400.0;

/// The weight of a word that is only in the answer: a question is about its words, an answer only mentions
/// some.
const ANSWER_WEIGHT: f32 = 0.4;

/// The limit of words of a FAQ, those of the question first: a long answer has a few hundred.
pub(crate) const MAX_TERMS: usize = 512;

/// The limit of bytes of a word: a longer one is not a word.
const MAX_TERM: usize = 255;

/// The limit of entries that are read for all words of a query, in equal parts: some milliseconds of work. It
/// is only reached if thousands of a customer's FAQs have the same words.
pub(crate) const MAX_POSTINGS: usize = 4_096;

/// The number of FAQs above which a word counts as common: more FAQs with it do not make it count less.
const COMMON: usize = 64;

/// The limit of FAQs whose other words are looked up, if a word has more entries than are read.
pub(crate) const MAX_PROBED: usize = 128;

/// The limit of questions of a text that are looked up as a whole: the text, its lines and its sentences.
const MAX_QUESTIONS: usize = 16;

/// The number of random bits of a place, see [`place`].
const CHANCE_BITS: u32 = 21;

/// The number of words above which a text's length does not change its place.
const MAX_PLACED: i32 = (1 << 9) - 1;

/// The number of FAQs that are ranked for each that a search returns. Words decide, but the other parts of a
/// score may move a FAQ from the second half to the first.
const SHORTLIST_FACTOR: usize = 2;

/// The minimum of FAQs that are ranked.
const MIN_SHORTLIST: usize = 16;

/// The limit of words of a query that are read: twice as many as count, because some are dropped.
const MAX_WORDS_READ: usize = 64;

/// The precision of a score: enough to tell FAQs apart, and low enough to be the same on every machine.
const SCALE: f64 = 1e6;

/// The configuration of a text without stems.
const SIMPLE: &str = "simple";

/// The text search configurations of languages with stems, by the first part of their BCP 47 tags. Every
/// Postgres from 14 on has them.
const CONFIGS: &[(&str, &str)] = &[
    ("ar", "arabic"),
    ("ca", "catalan"),
    ("da", "danish"),
    ("de", "german"),
    ("el", "greek"),
    ("en", "english"),
    ("es", "spanish"),
    ("eu", "basque"),
    ("fi", "finnish"),
    ("fr", "french"),
    ("ga", "irish"),
    ("hi", "hindi"),
    ("hu", "hungarian"),
    ("hy", "armenian"),
    ("id", "indonesian"),
    ("it", "italian"),
    ("lt", "lithuanian"),
    ("nb", "norwegian"),
    ("ne", "nepali"),
    ("nl", "dutch"),
    ("nn", "norwegian"),
    ("no", "norwegian"),
    ("pt", "portuguese"),
    ("ro", "romanian"),
    ("ru", "russian"),
    ("sr", "serbian"),
    ("sv", "swedish"),
    ("ta", "tamil"),
    ("tr", "turkish"),
    ("yi", "yiddish"),
];

/// A FAQ that has words of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) id: Uuid,
    pub(crate) confidence: f64,
    /// The time at which it was last changed or observed.
    pub(crate) active_at: DateTime<Utc>,
    /// The numbers of its words in the query, from 1, and the weight of each; some more than once.
    pub(crate) words: Vec<(i64, f32)>,
}

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word {
    /// The form that stems are made of: in small letters, with its accents. Empty for a word without a stem.
    pub(crate) written: String,
    /// The form that is found in any language.
    pub(crate) form: String,
}

/// The words of a FAQ, one column each.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Terms {
    pub(crate) written: Vec<String>,
    pub(crate) forms: Vec<String>,
    pub(crate) weights: Vec<f32>,
    pub(crate) places: Vec<i32>,
}

/// The matches of a search so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Matches {
    /// The number of FAQs that have each word of the query, up to a limit.
    pub(crate) frequencies: Vec<usize>,
    /// The FAQs that have words, and which words.
    pub(crate) words: BTreeMap<Uuid, Vec<(i64, f32)>>,
    /// The words, and their forms, that more FAQs have than are read.
    pub(crate) cut: Vec<(i64, String)>,
}

/// The reasons for the place of a FAQ: each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    pub(crate) score: f64,
    pub(crate) text: f64,
    pub(crate) confidence: f64,
    pub(crate) recency: f64,
}

/// Returns the text search configuration of a language.
pub(crate) fn config(language: &str) -> &'static str {
    let first = language.split('-').next().unwrap_or_default().to_ascii_lowercase();
    CONFIGS.iter().find(|(tag, _)| *tag == first).map_or(SIMPLE, |(_, config)| config)
}

/// Returns the dictionary of Postgres that makes the stems of a configuration.
pub(crate) fn dictionary(config: &str) -> String {
    if config == SIMPLE { SIMPLE.to_owned() } else { format!("{config}_stem") }
}

/// Returns the words of a text in their order. For characters without spaces between words, it returns their
/// pairs.
fn words(text: &str) -> impl Iterator<Item = Word> {
    let plain = text.nfkc().collect::<String>().to_lowercase();
    let mut words = Vec::new();
    for piece in split::pieces(&plain) {
        match piece {
            Piece::Word(word) => words.extend(split::parts(word).map(|part| (part.to_owned(), fold(part)))),
            Piece::Run(run) => {
                let run = fold(run);
                words.extend(split::pairs(&run).map(|pair| (String::new(), pair.to_owned())));
            }
        }
    }
    let words = words.into_iter().map(|(written, form)| Word { written, form });
    words.filter(|word| (1..=MAX_TERM).contains(&word.form.len()) && word.written.len() <= MAX_TERM)
}

/// Returns the single characters of text without spaces between words: each may be a word.
fn characters(text: &str) -> Vec<Word> {
    let folded = fold(text);
    let runs = split::pieces(&folded).filter_map(|piece| match piece {
        Piece::Run(run) => Some(run),
        Piece::Word(_) => None,
    });
    let word = |character: char| Word { written: String::new(), form: character.into() };
    runs.flat_map(str::chars).map(word).collect()
}

/// Returns the different words of a query, in their order and up to a limit. Each word costs, and a repeated
/// one adds nothing.
pub(crate) fn asked(query: &str) -> Vec<Word> {
    let mut known = BTreeSet::new();
    words(query).filter(|word| known.insert(word.form.clone())).take(MAX_WORDS_READ).collect()
}

/// Returns the different words of a FAQ, those of its question first.
pub(crate) fn terms(id: Uuid, question: &str, answer: &str) -> Terms {
    let mut known = BTreeSet::new();
    let mut new = |words: &mut dyn Iterator<Item = Word>| -> Vec<Word> {
        words.filter(|word| known.insert(word.form.clone())).collect()
    };
    let of_question = new(&mut words(question).chain(characters(question)));
    let of_answer = new(&mut words(answer));
    let mut terms = Terms::default();
    for (words, weight, is_asked) in [(of_question, 1.0, true), (of_answer, ANSWER_WEIGHT, false)] {
        let place = place(id, words.len(), is_asked);
        for Word { written, form } in words.into_iter().take(MAX_TERMS - terms.forms.len()) {
            terms.written.push(written);
            terms.forms.push(form);
            terms.weights.push(weight);
            terms.places.push(place);
        }
    }
    terms
}

/// Returns the place of a FAQ among those that have a word. FAQs with the word in the question come first, then
/// those with few words, which are more about it. The order of equal ones is random, so that age makes no
/// difference. The randomness is in the last bits of the id.
fn place(id: Uuid, words: usize, is_asked: bool) -> i32 {
    let words = i32::try_from(words).unwrap_or(MAX_PLACED).min(MAX_PLACED);
    let kind = if is_asked { 0 } else { MAX_PLACED + 1 };
    let [.., one, two, three] = *id.as_bytes();
    let chance = i32::from_be_bytes([0, one, two, three]) & ((1 << CHANCE_BITS) - 1);
    ((kind + words) << CHANCE_BITS) | chance
}

/// Returns the keys by which a text is recognised as a question that was asked before. There is one for the
/// whole text, and one for each line and sentence, since people greet before they ask.
pub(crate) fn questions(text: &str) -> Vec<String> {
    let mut known = BTreeSet::new();
    let lines = || text.lines();
    let sentences = lines().flat_map(UnicodeSegmentation::unicode_sentences);
    let parts = [text].into_iter().chain(lines()).chain(sentences);
    let parts = parts.filter(|part| !part.trim().is_empty()).take(MAX_WORDS_READ);
    let keys = parts.map(question_key).filter(|key| known.insert(key.clone()));
    keys.take(MAX_QUESTIONS).collect()
}

impl Matches {
    /// Returns the matches of these entries.
    pub(crate) fn of(postings: Vec<Posting>) -> Self {
        let limit = MAX_POSTINGS / postings.len().max(1);
        let words = postings.iter().map(|posting| posting.word).max().unwrap_or(0);
        let mut matches = Self { frequencies: vec![0; numbers::size(words)], ..Self::default() };
        for Posting { word, term, faq_ids, weights } in postings {
            let is_cut = faq_ids.len() >= limit;
            let place = usize::try_from(word - 1).ok().and_then(|index| matches.frequencies.get_mut(index));
            if let Some(frequency) = place {
                *frequency = if is_cut { COMMON } else { faq_ids.len() }.max(*frequency);
            }
            for (id, weight) in faq_ids.iter().zip(weights) {
                matches.words.entry(*id).or_default().push((word, weight));
            }
            if is_cut {
                matches.cut.push((word, term));
            }
        }
        matches
    }

    /// Keeps the FAQs that match best. Returns their ids, the best first.
    pub(crate) fn truncate(&mut self, count: usize) -> Vec<Uuid> {
        let mut best: Vec<(Uuid, Vec<(i64, f32)>)> = std::mem::take(&mut self.words).into_iter().collect();
        // The order is stable: of equal ones, the one with the smaller id comes first.
        best.sort_by_cached_key(|(_, words)| Reverse(steps(text_score(words, &self.frequencies))));
        best.truncate(count);
        let ids = best.iter().map(|(id, _)| *id).collect();
        self.words = best.into_iter().collect();
        ids
    }

    /// Adds the words that were cut, for the FAQs that have them.
    pub(crate) fn fill(&mut self, weights: Vec<Weight>) {
        for Weight { faq_id, term, weight } in weights {
            let words = self.cut.iter().filter(|(_, cut)| *cut == term).map(|(word, _)| (*word, weight));
            if let Some(has) = self.words.get_mut(&faq_id) {
                has.extend(words);
            }
        }
    }
}

/// Returns how many FAQs are read for a search that returns up to `limit`.
pub(crate) fn shortlist(limit: usize) -> usize {
    MIN_SHORTLIST.max(limit * SHORTLIST_FACTOR)
}

/// Returns the best of the candidates. Of equal ones, the one with the smaller id comes first.
pub(crate) fn rank(candidates: &[Candidate], frequencies: &[usize], limit: usize) -> Vec<(Uuid, Scores)> {
    let newest = candidates.iter().map(|candidate| candidate.active_at).max().unwrap_or_default();
    let mut ranked: Vec<_> =
        candidates.iter().map(|candidate| (candidate.id, scores(candidate, frequencies, newest))).collect();
    ranked.sort_by(|(id, one), (other_id, other)| {
        other.score.total_cmp(&one.score).then_with(|| id.cmp(other_id))
    });
    ranked.truncate(limit);
    ranked
}

/// Returns the scores of a FAQ whose question is the query's: it is the answer, at any confidence and age.
pub(crate) fn exact(confidence: f64) -> Scores {
    Scores { score: 1.0, text: 1.0, confidence: rounded(confidence), recency: 1.0 }
}

fn scores(candidate: &Candidate, frequencies: &[usize], newest: DateTime<Utc>) -> Scores {
    let text = rounded(text_score(&candidate.words, frequencies));
    let confidence = rounded(candidate.confidence);
    let recency = rounded(recency_score(newest - candidate.active_at));
    let score = TEXT_WEIGHT * text + CONFIDENCE_WEIGHT * confidence + RECENCY_WEIGHT * recency;
    Scores { score: rounded(score), text, confidence, recency }
}

/// Returns the part of the query that a FAQ with these words matches.
fn text_score(words: &[(i64, f32)], frequencies: &[usize]) -> f64 {
    let (mut has, mut all) = (0.0, 0.0);
    for (word, frequency) in (1..).zip(frequencies) {
        let rarity = rarity(*frequency);
        let weights = words.iter().filter(|(has, _)| *has == word).map(|(_, weight)| f64::from(*weight));
        all += rarity;
        has += rarity * weights.fold(0.0, f64::max);
    }
    if all > 0.0 { has / all } else { 0.0 }
}

/// Returns the weight of a word that so many FAQs have.
fn rarity(frequency: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 64")]
    let (most, frequency) = (COMMON as f64, frequency.clamp(1, COMMON) as f64);
    (most / frequency).ln_1p()
}

/// Returns the recency: 1, halved for each half-life by which other FAQs are newer. The clock does not matter.
fn recency_score(age: TimeDelta) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times are within some thousand years")]
    let age = age.num_seconds().max(0) as f64;
    (-age / HALF_LIFE_S).exp2()
}

fn rounded(score: f64) -> f64 {
    (score.clamp(0.0, 1.0) * SCALE).round() / SCALE
}

/// Returns a score from 0 to 1 as a whole number, by which it can be ordered.
fn steps(score: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number up to a million"
    )]
    let steps = (score.clamp(0.0, 1.0) * SCALE).round() as u32;
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEWEST: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn candidate(id: u128, words: &[(i64, f32)]) -> Candidate {
        Candidate { id: Uuid::from_u128(id), confidence: 0.5, active_at: NEWEST, words: words.to_vec() }
    }

    fn posting(word: i64, ids: std::ops::Range<u128>) -> Posting {
        let faq_ids: Vec<_> = ids.map(Uuid::from_u128).collect();
        let weights = vec![1.0; faq_ids.len()];
        Posting { word, term: format!("w{word}"), faq_ids, weights }
    }

    fn forms(words: &[Word]) -> Vec<&str> {
        words.iter().map(|word| word.form.as_str()).collect()
    }

    #[test]
    fn those_that_match_best_are_ranked() {
        let mut found = Matches::of(vec![posting(1, 0..64), posting(2, 60..63)]);
        assert_eq!((found.frequencies.as_slice(), found.cut.as_slice()), ([64, 3].as_slice(), [].as_slice()));
        assert_eq!((found.words.len(), shortlist(10), shortlist(1)), (64, 20, 16));
        found.truncate(20);
        let expected: Vec<_> = (0..17).chain(60..63).map(Uuid::from_u128).collect();
        assert_eq!(found.words.keys().copied().collect::<Vec<_>>(), expected);
        assert_eq!(found.words[&Uuid::from_u128(60)], [(1, 1.0), (2, 1.0)]);
        assert_eq!(Matches::of(vec![]), Matches::default());
    }

    #[test]
    fn what_was_cut_is_filled_in() {
        let mut found = Matches::of(vec![posting(1, 0..4_096), posting(2, 9_000..9_001)]);
        assert_eq!(found.cut, [(1, "w1".to_owned())]);
        let rare = Uuid::from_u128(9_000);
        found.truncate(MAX_PROBED);
        assert_eq!(found.words[&rare], [(2, 1.0)]);
        let weight = |faq_id, weight| Weight { faq_id, term: "w1".to_owned(), weight };
        found.fill(vec![weight(rare, 0.4), weight(Uuid::from_u128(1 << 99), 1.0)]);
        assert_eq!(found.words[&rare], [(2, 1.0), (1, 0.4)]);
    }

    #[test]
    fn a_word_counts_once_however_it_is_written() {
        let words = asked("Open? open, OPEN!\n ... on Sunday's opén");
        assert_eq!(forms(&words), ["open", "on", "sunday", "s"]);
        let many: Vec<_> = (0..100).map(|number| format!("word{number}")).collect();
        assert_eq!(forms(&asked(&many.join("  "))), many[..MAX_WORDS_READ]);
        assert_eq!(asked(" \t"), []);
        let word = |written: &str, form: &str| Word { written: written.to_owned(), form: form.to_owned() };
        assert_eq!(asked("ÖFFNUNG"), [word("öffnung", "offnung")], "stems are made of what is written");
        assert_eq!(asked("周六送货"), [word("", "周六"), word("", "六送"), word("", "送货")]);
    }

    #[test]
    fn a_faq_has_the_words_of_its_question_and_then_those_of_its_answer() {
        let id = Uuid::from_u128(u128::MAX);
        let found = terms(id, "Tea 茶叶?", "Green tea, 绿茶");
        assert_eq!(found.forms, ["tea", "茶叶", "茶", "叶", "green", "绿茶"]);
        assert_eq!(found.weights, [1.0, 1.0, 1.0, 1.0, ANSWER_WEIGHT, ANSWER_WEIGHT]);
        assert!(found.places[0] < found.places[4] && found.places[0] == found.places[3]);
        let many: String = (0..1_000).map(|number| format!("w{number} ")).collect();
        let found = terms(id, "Tea", &many);
        assert_eq!((found.forms.len(), found.places.len()), (MAX_TERMS, MAX_TERMS));
        assert!(found.places.iter().all(|place| *place > 0));
    }

    #[test]
    fn short_questions_stand_before_long_ones_and_age_makes_no_difference() {
        let (old, new) = (Uuid::from_u128((1 << 100) + 7), Uuid::from_u128((2 << 100) + 3));
        assert!(place(old, 1, true) < place(new, 2, true));
        assert!(place(new, 1, true) < place(old, 2, true));
        assert!(place(new, 2, true) < place(old, 2, true), "the last bits decide, not the first");
        assert!(place(old, 9_999, true) < place(old, 1, false));
    }

    #[test]
    fn a_text_is_recognised_as_a_whole_and_by_lines_and_sentences() {
        assert_eq!(questions("Who are you?"), ["who are you"]);
        let found = questions("Hi there! What is Kombucha?\nThanks");
        assert_eq!(
            found,
            [
                "hi there! what is kombucha? thanks",
                "hi there! what is kombucha",
                "thanks",
                "hi there",
                "what is kombucha"
            ]
        );
        assert_eq!(questions(&"Ah! ".repeat(1_000)).len(), 2);
        assert_eq!(
            questions(&(0..999).map(|number| format!("{number}\n")).collect::<String>()).len(),
            MAX_QUESTIONS
        );
        assert_eq!(questions(" \n"), [""; 0]);
    }

    #[test]
    fn languages_have_configurations() {
        for (language, expected) in [
            ("de", "german"),
            ("de-AT", "german"),
            ("DE-at", "german"),
            ("en-GB", "english"),
            ("nb", "norwegian"),
            ("ja", "simple"),
            ("", "simple"),
            ("deu", "simple"),
        ] {
            assert_eq!(config(language), expected, "{language}");
        }
    }

    #[test]
    fn a_faq_that_has_all_words_in_its_question_has_the_full_score() {
        let found = scores(&candidate(1, &[(1, 1.0), (2, 1.0)]), &[3, 64], NEWEST);
        assert_eq!(found, Scores { score: 0.9, text: 1.0, confidence: 0.5, recency: 1.0 });
    }

    #[test]
    fn a_rare_word_counts_more_than_a_common_one() {
        let rare = candidate(1, &[(1, 1.0)]);
        let common = candidate(2, &[(2, 1.0)]);
        let ranked = rank(&[common, rare], &[1, 64], 10);
        assert_eq!(ranked[0].0, Uuid::from_u128(1));
        assert!((ranked[0].1.text - 65_f64.ln() / (65_f64.ln() + 2_f64.ln())).abs() < 1e-6);
    }

    #[test]
    fn a_word_counts_once_and_by_its_better_place() {
        let twice = scores(&candidate(1, &[(1, 0.4), (1, 1.0)]), &[1], NEWEST);
        assert!((twice.text - 1.0).abs() < 1e-9);
        let answer = scores(&candidate(1, &[(1, 0.4)]), &[1], NEWEST);
        assert!((answer.text - 0.4).abs() < 1e-6);
    }

    #[test]
    fn recency_halves_in_90_days() {
        let old = candidate(1, &[(1, 1.0)]);
        let recency = |days| scores(&old, &[1], NEWEST + TimeDelta::days(days)).recency;
        assert!((recency(90) - 0.5).abs() < 1e-9);
        assert!((recency(180) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn equals_are_ranked_by_id() {
        let all: Vec<_> = [3, 1, 2].map(|id| candidate(id, &[(1, 1.0)])).to_vec();
        let ids: Vec<_> = rank(&all, &[3], 2).iter().map(|(id, _)| id.as_u128()).collect();
        assert_eq!(ids, [1, 2]);
    }

    proptest! {
        #[test]
        fn every_score_is_between_0_and_1(
            words in prop::collection::vec((1..33_i64, 0.01..1.0_f32), 0..80),
            frequencies in prop::collection::vec(0..100_usize, 0..32),
            confidence in 0.0..1.0_f64,
            age in -1000..100_000_i64,
        ) {
            let candidate = Candidate { confidence, ..candidate(1, &words) };
            let newest = NEWEST + TimeDelta::days(age);
            let Scores { score, text, confidence, recency } = scores(&candidate, &frequencies, newest);
            for part in [score, text, confidence, recency] {
                prop_assert!((0.0..=1.0).contains(&part), "{part}");
            }
        }

        #[test]
        fn a_further_word_never_hurts(
            words in prop::collection::vec((1..9_i64, 0.01..1.0_f32), 0..8),
            further in 1..9_i64,
            frequencies in prop::collection::vec(0..100_usize, 8),
        ) {
            let fewer = text_score(&words, &frequencies);
            let more: Vec<_> = words.into_iter().chain([(further, 0.4)]).collect();
            prop_assert!(text_score(&more, &frequencies) >= fewer);
        }
    }
}
