//! Counts the tokens of a text for a language model.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use quick_cache::sync::Cache;
use token_counter::Encoding;

use crate::numbers;
use crate::pb::Tokenizer;

/// The largest text in bytes that is counted on the calling thread, which takes a third of a millisecond. A longer
/// text is counted on a thread that serves no calls.
pub(crate) const IN_PASSING: usize = 16 * 1024;

/// Returns the number of tokens of a text. The first count of a process also loads the tables of the encoding.
pub(crate) fn count(tokenizer: Tokenizer, text: &str) -> i64 {
    let encoding = match tokenizer {
        Tokenizer::Cl100kBase => Encoding::Cl100kBase,
        Tokenizer::O200kBase | Tokenizer::Unspecified => Encoding::O200kBase,
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
