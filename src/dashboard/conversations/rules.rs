//! What models cost.

use std::collections::HashMap;

use super::store::models::Usage;
use crate::rpc::money;

/// Tokens that a price is for.
const TOKENS_OF_A_PRICE: i128 = 1_000_000;

/// What a million tokens of a model cost, in millionths of a unit of a currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Price {
    pub(in crate::dashboard) currency: String,
    /// Tokens of prompts that are not cached.
    pub(in crate::dashboard) prompt: i64,
    pub(in crate::dashboard) completion: i64,
    /// Tokens of prompts that are cached.
    pub(in crate::dashboard) cached: i64,
}

/// Prices, by the names of models.
pub(in crate::dashboard) type Prices = HashMap<String, Price>;

impl Price {
    /// What was used of a model, in millionths of a unit. It is rounded once, at the end, so that it is the
    /// cost of the sums that stand beside it.
    pub(super) fn cost(&self, usage: &Usage) -> i128 {
        let Self { currency: _, prompt, completion, cached } = self;
        let of = |tokens: i64, price: &i64| i128::from(tokens) * i128::from(*price);
        // A client that reports more cached tokens than there were pays for those.
        let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens).max(0);
        let whole =
            of(fresh, prompt) + of(usage.cached_tokens, cached) + of(usage.completion_tokens, completion);
        money::part(whole, 1, TOKENS_OF_A_PRICE).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(prompt_tokens: i64, completion_tokens: i64, cached_tokens: i64) -> Usage {
        Usage { prompt_tokens, completion_tokens, cached_tokens, ..Usage::default() }
    }

    fn price(prompt: i64, completion: i64, cached: i64) -> Price {
        Price { currency: "EUR".to_owned(), prompt, completion, cached }
    }

    #[test]
    fn cached_tokens_have_a_price_of_their_own() {
        // 2.50, 10.00 and 1.25 a million.
        let cost = price(2_500_000, 10_000_000, 1_250_000).cost(&usage(1_000_000, 200_000, 400_000));
        assert_eq!(cost, 1_500_000 + 500_000 + 2_000_000);
        assert_eq!(price(3, 0, 2).cost(&usage(0, 0, 1_000_000)), 2);
    }

    #[test]
    fn a_cost_is_rounded_once_and_halves_go_up() {
        assert_eq!(price(1, 0, 0).cost(&usage(499_999, 0, 0)), 0);
        assert_eq!(price(1, 0, 0).cost(&usage(500_000, 0, 0)), 1);
        assert_eq!(price(1, 1, 1).cost(&usage(300_000, 200_000, 100_000)), 1);
    }

    proptest! {
        #[test]
        fn no_tokens_and_no_price_are_too_many(
            tokens in prop::array::uniform3(0..=i64::MAX),
            prices in prop::array::uniform3(0..=1_000_000_999_999_000_000_i64),
        ) {
            let cost = price(prices[0], prices[1], prices[2]).cost(&usage(tokens[0], tokens[1], tokens[2]));
            prop_assert!(cost >= 0);
        }
    }
}
