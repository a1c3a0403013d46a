//! How FAQs that have words of a query are ranked, and which stems a language has.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::store::Posting;

/// What the parts of a score count. Words decide; of FAQs that have the same, the surer and newer ones
/// come first.
const TEXT_WEIGHT: f64 = 0.7;
const CONFIDENCE_WEIGHT: f64 = 0.2;
const RECENCY_WEIGHT: f64 = 0.1;

/// After how many seconds a FAQ is half as recent: 90 days.
const HALF_LIFE_S: f64 = 90.0 * 86_400.0;

/// FAQs with a word that are looked at. A word that more have tells little: it counts for these alone.
pub(crate) const MAX_POSTINGS: usize = 64;

/// FAQs that are ranked for each that a search gives: words decide, but the other parts of a score may
/// take one half way up.
const SHORTLIST_FACTOR: usize = 2;

/// FAQs that are ranked at least.
const MIN_SHORTLIST: usize = 16;

/// Words of a query that are looked at, twice as many as count: some are no words.
const MAX_WORDS_READ: usize = 64;

/// Places of a score that count: enough to tell FAQs apart, few enough to be the same on every machine.
const SCALE: f64 = 1e6;

/// The configuration of a text without stems.
const SIMPLE: &str = "simple";

/// Languages with stems, by the first part of their BCP 47 tags, and their text search configurations in
/// every Postgres from 14 on.
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
    /// When it was last changed or observed.
    pub(crate) active_at: DateTime<Utc>,
    /// The words that it has, counted from 1, and how much each counts here; some more than once.
    pub(crate) words: Vec<(i64, f32)>,
}

/// What a search has found so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Shortlist {
    /// How many FAQs have each word of the query, as far as they are looked at.
    pub(crate) frequencies: Vec<usize>,
    /// The FAQs that are ranked, and their words.
    pub(crate) words: BTreeMap<Uuid, Vec<(i64, f32)>>,
}

/// Why a FAQ stands where it does: each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    pub(crate) score: f64,
    pub(crate) text: f64,
    pub(crate) confidence: f64,
    pub(crate) recency: f64,
}

/// The text search configuration of a language.
pub(crate) fn config(language: &str) -> &'static str {
    let first = language.split('-').next().unwrap_or_default().to_ascii_lowercase();
    CONFIGS.iter().find(|(tag, _)| *tag == first).map_or(SIMPLE, |(_, config)| config)
}

/// The different words of a text, in their order, as far as a search goes: each costs, and one that comes
/// again says nothing new. What a word is, is left to Postgres; here it ends with a space.
pub(crate) fn distinct(text: &str) -> String {
    let mut known = BTreeSet::new();
    let words = text.split_whitespace().filter(|word| {
        let bare = word.trim_matches(|character: char| !character.is_alphanumeric()).to_lowercase();
        known.insert(bare)
    });
    words.take(MAX_WORDS_READ).collect::<Vec<_>>().join(" ")
}

/// The FAQs that match best, as far as can be told from those that were looked at, enough for a search
/// that gives so many.
pub(crate) fn shortlist(postings: &[Posting], limit: usize) -> Shortlist {
    let words = postings.iter().map(|posting| posting.word).max().unwrap_or(0);
    let mut frequencies = vec![0; usize::try_from(words).unwrap_or(0)];
    let mut found: BTreeMap<Uuid, Vec<(i64, f32)>> = BTreeMap::new();
    for Posting { word, faq_ids, weights } in postings {
        let place = usize::try_from(word - 1).ok().and_then(|index| frequencies.get_mut(index));
        if let Some(frequency) = place {
            *frequency = faq_ids.len().max(*frequency);
        }
        for (id, weight) in faq_ids.iter().zip(weights) {
            found.entry(*id).or_default().push((*word, *weight));
        }
    }
    let mut best: Vec<(Uuid, Vec<(i64, f32)>)> = found.into_iter().collect();
    // The order is stable: of equals the one with the smaller id comes first.
    best.sort_by_cached_key(|(_, words)| std::cmp::Reverse(steps(text_score(words, &frequencies))));
    best.truncate(MIN_SHORTLIST.max(limit * SHORTLIST_FACTOR));
    Shortlist { frequencies, words: best.into_iter().collect() }
}

/// The best of the candidates, and of equals the one with the smaller id.
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

fn scores(candidate: &Candidate, frequencies: &[usize], newest: DateTime<Utc>) -> Scores {
    let text = rounded(text_score(&candidate.words, frequencies));
    let confidence = rounded(candidate.confidence);
    let recency = rounded(recency_score(newest - candidate.active_at));
    let score = TEXT_WEIGHT * text + CONFIDENCE_WEIGHT * confidence + RECENCY_WEIGHT * recency;
    Scores { score: rounded(score), text, confidence, recency }
}

/// What a FAQ that has these words has of the query, over all of it.
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

/// What a word counts that so many FAQs have.
fn rarity(frequency: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 64")]
    let (most, frequency) = (MAX_POSTINGS as f64, frequency.clamp(1, MAX_POSTINGS) as f64);
    (most / frequency).ln_1p()
}

/// Half for each half-life by which others are newer. The clock does not matter.
fn recency_score(age: TimeDelta) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times are within some thousand years")]
    let age = age.num_seconds().max(0) as f64;
    (-age / HALF_LIFE_S).exp2()
}

fn rounded(score: f64) -> f64 {
    (score.clamp(0.0, 1.0) * SCALE).round() / SCALE
}

/// A score from 0 to 1 as a whole number that can be ordered by.
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
        Posting { word, faq_ids, weights }
    }

    #[test]
    fn those_that_match_best_are_ranked() {
        let postings = [posting(1, 0..64), posting(2, 60..63)];
        let found = shortlist(&postings, 10);
        assert_eq!(found.frequencies, [64, 3]);
        let expected: Vec<_> = (0..17).chain(60..63).map(Uuid::from_u128).collect();
        assert_eq!(found.words.keys().copied().collect::<Vec<_>>(), expected);
        assert_eq!(found.words[&Uuid::from_u128(60)], [(1, 1.0), (2, 1.0)]);
        assert_eq!(shortlist(&postings, 100).words.len(), 64);
        assert_eq!(shortlist(&[], 10), Shortlist::default());
    }

    #[test]
    fn a_word_counts_once_however_it_is_written() {
        assert_eq!(distinct("Open? open, OPEN!\n ... on Sunday's open"), "Open? ... on Sunday's");
        let many: Vec<_> = (0..100).map(|number| format!("word{number}")).collect();
        assert_eq!(distinct(&many.join("  ")), many[..MAX_WORDS_READ].join(" "));
        assert_eq!(distinct(" \t"), "");
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
