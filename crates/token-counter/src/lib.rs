//! Counts the tokens of a text for a language model.
//!
//! The encodings are OpenAI's. [`bpe_openai`] gives the same counts as their own tokenizer, in time linear in the
//! length of any text. Its tables hold more than counting needs, so the build packs only that part. Most of
//! its time is spent on cutting a text into pieces, so each thread remembers the counts of words.

mod tables;
mod words;

use std::sync::LazyLock;

use bpe_openai::Tokenizer;

use words::Words;

/// An encoding of texts as tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// That of GPT-4 and GPT-3.5.
    Cl100kBase,
    /// That of GPT-4o and newer models.
    O200kBase,
}

impl Encoding {
    /// Returns the number of tokens of a text. Special tokens are counted as the texts that they are.
    ///
    /// The first count of an encoding loads its tables, which takes some tens of milliseconds.
    #[must_use]
    pub fn count(self, text: &str) -> usize {
        let (tokenizer, words) = match self {
            Self::Cl100kBase => (&CL100K_BASE, &CL100K_WORDS),
            Self::O200kBase => (&O200K_BASE, &O200K_WORDS),
        };
        words.with(|words| words::cut(text).map(|word| words.count(word, |word| tokenizer.count(word))).sum())
    }
}

/// How `cl100k_base` cuts a text into the pieces that tokens are made of.
const CL100K_PIECES: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+$";

/// How `o200k_base` does.
const O200K_PIECES: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+$",
);

static CL100K_BASE: LazyLock<Tokenizer> =
    LazyLock::new(|| tokenizer(include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_base")), CL100K_PIECES));

static O200K_BASE: LazyLock<Tokenizer> =
    LazyLock::new(|| tokenizer(include_bytes!(concat!(env!("OUT_DIR"), "/o200k_base")), O200K_PIECES));

thread_local! {
    static CL100K_WORDS: Words = Words::default();
    static O200K_WORDS: Words = Words::default();
}

/// Returns the tokenizer with these tables.
#[expect(clippy::expect_used, reason = "both are constants of this crate, and each test would fail")]
fn tokenizer(packed: &[u8], pieces: &str) -> Tokenizer {
    let tables = tables::unpack(packed).expect("the build packed the tables");
    // The last space before a word belongs to the word: `\s+(?!\S)`, which the regex crate cannot say.
    let patterns = [(pieces, false), (r"\s+\s", true), (r"\s+", false)];
    Tokenizer::new_lookahead(tables, &patterns, false).expect("the patterns are valid")
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
                "([ \u{a0}\u{2028}\t\r\n]{0,2}(/|'s|'LL|\u{301}|[a-zäßſж]{0,4}|[0-9]{0,5}|[!?.,]{0,3})){0,12}",
            ]
        ) {
            let reference = tiktoken_rs::o200k_base_singleton().encode_ordinary(&text).len();
            prop_assert_eq!(Encoding::O200kBase.count(&text), reference);
            let reference = tiktoken_rs::cl100k_base_singleton().encode_ordinary(&text).len();
            prop_assert_eq!(Encoding::Cl100kBase.count(&text), reference);
        }
    }

    #[test]
    fn each_token_is_one() {
        for (encoding, reference) in [
            (Encoding::O200kBase, tiktoken_rs::o200k_base_singleton()),
            (Encoding::Cl100kBase, tiktoken_rs::cl100k_base_singleton()),
        ] {
            let texts = (0..100_000).filter_map(|token| reference.decode(&[token]).ok());
            for text in texts {
                assert_eq!(encoding.count(&text), reference.encode_ordinary(&text).len(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_text_of_full_length_that_never_ends_a_word_is_counted_at_once() {
        for text in ["a", " ", "\n", "!", "e\u{301}"] {
            let text = text.repeat(262_144 / text.len());
            let count = Encoding::O200kBase.count(&text);
            assert!((1..=262_144).contains(&count), "{count}");
        }
    }
}
