//! Amounts of money: whole millionths of a unit, never floats.

use crate::error::{Error, Result};
use crate::pb;

/// Nanos per millionth.
const NANOS_OF_MICRO: i32 = 1_000;

/// Millionths per unit.
const MICROS_OF_UNIT: i64 = 1_000_000;

/// Returns an amount in millionths of its currency's unit.
///
/// # Errors
///
/// If it is not a whole number of millionths. The contract's rules have checked its range before.
pub fn to_micros(field: &str, money: &pb::Money) -> Result<i64> {
    let pb::Money { currency_code: _, units, nanos } = money;
    if nanos % NANOS_OF_MICRO != 0 {
        return Err(Error::invalid(
            format!("{field}.nanos"),
            "money.nanos",
            "must be a multiple of 1,000: amounts are exact to the millionth of a unit",
        ));
    }
    let micros = units.checked_mul(MICROS_OF_UNIT);
    let micros = micros.and_then(|whole| whole.checked_add(i64::from(nanos / NANOS_OF_MICRO)));
    micros.ok_or_else(|| Error::invalid(format!("{field}.units"), "money.units", "is too large"))
}

/// Returns this many millionths of a currency. A number beyond the range of an amount is cut to the range; no sum of
/// stored amounts is that large.
pub fn of_micros(currency: &str, micros: i128) -> pb::Money {
    let (unit, nanos) = (i128::from(MICROS_OF_UNIT), i128::from(NANOS_OF_MICRO));
    let (whole, rest) = (micros / unit, micros % unit);
    let limit = if whole < 0 { i64::MIN } else { i64::MAX };
    pb::Money {
        currency_code: currency.to_owned(),
        units: i64::try_from(whole).unwrap_or(limit),
        nanos: i32::try_from(rest * nanos).unwrap_or_default(),
    }
}

/// Formats an amount for people: `37.80 EUR`, with more digits if it has them.
pub fn show(currency: &str, micros: i64) -> String {
    let (whole, rest) = (micros / MICROS_OF_UNIT, micros % MICROS_OF_UNIT);
    let digits = format!("{:06}", rest.abs());
    let (cents, beyond) = digits.split_at(2);
    let sign = if micros < 0 { "-" } else { "" };
    format!("{sign}{}.{cents}{} {currency}", whole.abs(), beyond.trim_end_matches('0'))
}

/// Returns `amount * share / of`, rounded to the nearest, with halves rounded up.
pub fn part(amount: i128, share: i128, of: i128) -> Option<i128> {
    if of <= 0 {
        return None;
    }
    let product = amount.checked_mul(share)?;
    let (quotient, rest) = (product.div_euclid(of), product.rem_euclid(of));
    Some(if rest >= of - rest { quotient + 1 } else { quotient })
}

/// Checks that an amount has the expected currency. Nothing is compared with an invalid currency, because its own
/// rule refuses that.
///
/// # Errors
///
/// If it has another currency.
pub fn check_currency(field: &str, money: &pb::Money, currency: &str) -> Result<()> {
    let is_valid = currency.len() == 3 && currency.bytes().all(|letter| letter.is_ascii_uppercase());
    if money.currency_code == currency || !is_valid {
        return Ok(());
    }
    Err(Error::invalid(
        format!("{field}.currency_code"),
        "money.currency",
        format!("must be {currency}, as the other amounts"),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn euros(units: i64, nanos: i32) -> pb::Money {
        pb::Money { currency_code: "EUR".to_owned(), units, nanos }
    }

    proptest! {
        #[test]
        fn amounts_read_back(units in 0..=1_000_000_000_000_i64, micros in 0..1_000_000_i32) {
            let money = euros(units, micros * NANOS_OF_MICRO);
            let stored = to_micros("amount", &money).expect("an amount");
            prop_assert_eq!(of_micros("EUR", stored.into()), money);
        }

        #[test]
        fn a_part_is_within_half_a_millionth(amount in 0..1_i128 << 60, share in 0..1_000_i128, of in 1..1_000_i128) {
            let part = part(amount, share, of).expect("a part");
            prop_assert!((2 * (part * of - amount * share)).abs() <= of);
        }
    }

    #[test]
    fn what_is_no_millionth_is_refused_by_its_path() {
        let error = to_micros("budget", &euros(1, 999)).expect_err("not exact");
        assert!(error.to_string().starts_with("budget.nanos must be a multiple of 1,000"), "{error}");
        assert!(to_micros("budget", &euros(i64::MAX, 0)).is_err());
    }

    #[test]
    fn differences_may_be_negative() {
        assert_eq!(of_micros("EUR", -1_750_000), euros(-1, -750_000_000));
        assert_eq!(of_micros("EUR", -250_000), euros(0, -250_000_000));
    }

    #[test]
    fn halves_go_up_and_nothing_is_divided_by_nothing() {
        assert_eq!(part(1, 1, 2), Some(1));
        assert_eq!(part(1, 1, 3), Some(0));
        assert_eq!(part(1, 1, 0), None);
    }

    #[test]
    fn amounts_are_shown_with_two_digits_or_more() {
        for (micros, shown) in [
            (0, "0.00 EUR"),
            (37_800_000, "37.80 EUR"),
            (1_000_001, "1.000001 EUR"),
            (1_234_500, "1.2345 EUR"),
            (-500_000, "-0.50 EUR"),
        ] {
            assert_eq!(show("EUR", micros), shown);
        }
    }
}
