//! How FAQs that have words of a query are ranked, and which stems a language has.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What the parts of a score count. Words decide; of FAQs that have the same, the surer and newer ones
/// come first.
const TEXT_WEIGHT: f64 = 0.7;
const CONFIDENCE_WEIGHT: f64 = 0.2;
const RECENCY_WEIGHT: f64 = 0.1;

/// After how many seconds a FAQ is half as recent: 90 days.
const HALF_LIFE_S: f64 = 90.0 * 86_400.0;

/// FAQs with a word that are looked at. A word that more have tells little, and is taken as that common.
pub(crate) const MAX_POSTINGS: i64 = 64;

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
    /// When any of the customer's was.
    pub(crate) newest: DateTime<Utc>,
    /// How many FAQs have each word of the query, as far as they are looked at. The same for all.
    pub(crate) frequencies: Vec<i64>,
    /// The words that it has, counted from 1, and how much each counts here; some more than once.
    pub(crate) words: Vec<i64>,
    pub(crate) weights: Vec<f32>,
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

/// The best of the candidates, and of equals the one with the smaller id.
pub(crate) fn rank(candidates: &[Candidate], limit: usize) -> Vec<(Uuid, Scores)> {
    let mut ranked: Vec<_> = candidates.iter().map(|candidate| (candidate.id, scores(candidate))).collect();
    ranked.sort_by(|(id, one), (other_id, other)| {
        other.score.total_cmp(&one.score).then_with(|| id.cmp(other_id))
    });
    ranked.truncate(limit);
    ranked
}

fn scores(candidate: &Candidate) -> Scores {
    let text = rounded(text_score(candidate));
    let confidence = rounded(candidate.confidence);
    let recency = rounded(recency_score(candidate));
    let score = TEXT_WEIGHT * text + CONFIDENCE_WEIGHT * confidence + RECENCY_WEIGHT * recency;
    Scores { score: rounded(score), text, confidence, recency }
}

/// What the FAQ has of the query, over all of it.
fn text_score(candidate: &Candidate) -> f64 {
    let mut weights: BTreeMap<i64, f64> = BTreeMap::new();
    for (word, weight) in candidate.words.iter().zip(&candidate.weights) {
        let best = weights.entry(*word).or_default();
        *best = best.max(f64::from(*weight));
    }
    let (mut has, mut all) = (0.0, 0.0);
    for (word, frequency) in (1..).zip(&candidate.frequencies) {
        let rarity = rarity(*frequency);
        all += rarity;
        has += rarity * weights.get(&word).copied().unwrap_or(0.0);
    }
    if all > 0.0 { has / all } else { 0.0 }
}

/// What a word counts that so many FAQs have.
fn rarity(frequency: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 64")]
    let (most, frequency) = (MAX_POSTINGS as f64, frequency.clamp(1, MAX_POSTINGS) as f64);
    (most / frequency).ln_1p()
}

/// Half for each half-life by which others are newer. The clock does not matter.
fn recency_score(candidate: &Candidate) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "times are within some thousand years")]
    let age = (candidate.newest - candidate.active_at).num_seconds().max(0) as f64;
    (-age / HALF_LIFE_S).exp2()
}

fn rounded(score: f64) -> f64 {
    (score.clamp(0.0, 1.0) * SCALE).round() / SCALE
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn candidate(id: u128, words: &[(i64, f32)], frequencies: &[i64]) -> Candidate {
        Candidate {
            id: Uuid::from_u128(id),
            confidence: 0.5,
            active_at: DateTime::UNIX_EPOCH,
            newest: DateTime::UNIX_EPOCH,
            frequencies: frequencies.to_vec(),
            words: words.iter().map(|(word, _)| *word).collect(),
            weights: words.iter().map(|(_, weight)| *weight).collect(),
        }
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
        let found = scores(&candidate(1, &[(1, 1.0), (2, 1.0)], &[3, 64]));
        assert_eq!(found, Scores { score: 0.9, text: 1.0, confidence: 0.5, recency: 1.0 });
    }

    #[test]
    fn a_rare_word_counts_more_than_a_common_one() {
        let rare = candidate(1, &[(1, 1.0)], &[1, 64]);
        let common = candidate(2, &[(2, 1.0)], &[1, 64]);
        let ranked = rank(&[common, rare], 10);
        assert_eq!(ranked[0].0, Uuid::from_u128(1));
        assert!((ranked[0].1.text - 65_f64.ln() / (65_f64.ln() + 2_f64.ln())).abs() < 1e-6);
    }

    #[test]
    fn a_word_counts_once_and_by_its_better_place() {
        let twice = scores(&candidate(1, &[(1, 0.4), (1, 1.0)], &[1]));
        assert!((twice.text - 1.0).abs() < 1e-9);
        let answer = scores(&candidate(1, &[(1, 0.4)], &[1]));
        assert!((answer.text - 0.4).abs() < 1e-6);
    }

    #[test]
    fn recency_halves_in_90_days() {
        let mut old = candidate(1, &[(1, 1.0)], &[1]);
        old.newest += TimeDelta::days(90);
        assert!((scores(&old).recency - 0.5).abs() < 1e-9);
        old.newest += TimeDelta::days(90);
        assert!((scores(&old).recency - 0.25).abs() < 1e-9);
    }

    #[test]
    fn equals_are_ranked_by_id() {
        let all: Vec<_> = [3, 1, 2].map(|id| candidate(id, &[(1, 1.0)], &[3])).to_vec();
        let ids: Vec<_> = rank(&all, 2).iter().map(|(id, _)| id.as_u128()).collect();
        assert_eq!(ids, [1, 2]);
    }

    proptest! {
        #[test]
        fn every_score_is_between_0_and_1(
            words in prop::collection::vec((1..33_i64, 0.01..1.0_f32), 0..80),
            frequencies in prop::collection::vec(0..100_i64, 0..32),
            confidence in 0.0..1.0_f64,
            age in -1000..100_000_i64,
        ) {
            let mut candidate = candidate(1, &words, &frequencies);
            candidate.confidence = confidence;
            candidate.newest += TimeDelta::days(age);
            let Scores { score, text, confidence, recency } = scores(&candidate);
            for part in [score, text, confidence, recency] {
                prop_assert!((0.0..=1.0).contains(&part), "{part}");
            }
        }

        #[test]
        fn a_further_word_never_hurts(
            words in prop::collection::vec((1..9_i64, 0.01..1.0_f32), 0..8),
            further in 1..9_i64,
            frequencies in prop::collection::vec(0..100_i64, 8),
        ) {
            let fewer = scores(&candidate(1, &words, &frequencies)).text;
            let more: Vec<_> = words.into_iter().chain([(further, 0.4)]).collect();
            prop_assert!(scores(&candidate(1, &more, &frequencies)).text >= fewer);
        }
    }
}
