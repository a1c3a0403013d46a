//! Counts the tokens of a text for a language model.
//!
//! The encodings are OpenAI's. [`bpe_openai`] gives the same counts as their own tokenizer, in time linear in the
//! length of any text.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use bpe_openai::{cl100k_base, o200k_base};
use quick_cache::sync::Cache;

use crate::numbers;
use crate::pb::Tokenizer;

/// The largest text in bytes that is counted on the calling thread, which takes a third of a millisecond. A longer
/// text is counted on a thread that serves no calls.
pub(crate) const IN_PASSING: usize = 16 * 1024;

/// Returns the number of tokens of a text.
pub(crate) fn count(tokenizer: Tokenizer, text: &str) -> i64 {
    let encoding = match tokenizer {
        Tokenizer::Cl100kBase => cl100k_base(),
        Tokenizer::O200kBase | Tokenizer::Unspecified => o200k_base(),
    };
    numbers::count(encoding.count(text))
}

/// The number of counts that are remembered. One takes some 50 bytes. A context has about a hundred texts, so these
/// are the counts of the last five hundred customers.
const REMEMBERED: usize = 50_000;

/// Counts by a hash of the text. To construct two texts with the same hash, a client would have to know the keys,
/// which are secret and differ in each process.
static COUNTS: LazyLock<Counts> = LazyLock::new(|| Counts {
    cache: Cache::new(REMEMBERED),
    keys: [RandomState::new(), RandomState::new()],
});

struct Counts {
    cache: Cache<[u64; 2], i64>,
    keys: [RandomState; 2],
}

/// As [`count`], for a text that occurs again and again, as the lines of contexts do.
pub(crate) fn recall(tokenizer: Tokenizer, text: &str) -> i64 {
    let Counts { cache, keys } = &*COUNTS;
    let key = keys.each_ref().map(|key| key.hash_one((tokenizer, text)));
    if let Some(known) = cache.get(&key) {
        return known;
    }
    let count = count(tokenizer, text);
    cache.insert(key, count);
    count
}

/// Returns how often a count was found in memory, and how often not, in this process.
pub(crate) fn lookups() -> (u64, u64) {
    (COUNTS.cache.hits(), COUNTS.cache.misses())
}

/// Loads the encoding for messages, which takes some 40 ms, so that no call has to wait for it.
pub(crate) fn load() {
    count(Tokenizer::O200kBase, "");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn counts_are_those_of_the_reference(
            text in prop_oneof![
                "\\PC{0,60}",
                "[ \\t\\r\\n]{0,8}[a-zA-Z'’]{0,8}[ \\t\\r\\n/]{0,8}[0-9!?,.\\-/]{0,6}(\\PC| |\n){0,6}",
                "(<\\|endoftext\\|>|\u{200d}|\u{301}|🙂|ß|ǅ| |\n){0,20}",
            ]
        ) {
            let reference = tiktoken_rs::o200k_base_singleton().encode_ordinary(&text).len();
            prop_assert_eq!(count(Tokenizer::O200kBase, &text), i64::try_from(reference)?);
            let reference = tiktoken_rs::cl100k_base_singleton().encode_ordinary(&text).len();
            prop_assert_eq!(count(Tokenizer::Cl100kBase, &text), i64::try_from(reference)?);
        }
    }

    #[test]
    fn a_text_of_full_length_that_never_ends_a_word_is_counted_at_once() {
        for text in ["a", " ", "\n", "!", "e\u{301}"] {
            let text = text.repeat(262_144 / text.len());
            let count = count(Tokenizer::O200kBase, &text);
            assert!((1..=262_144).contains(&count), "{count}");
        }
    }
}
