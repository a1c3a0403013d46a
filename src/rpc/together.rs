//! Combines results and reports their errors together, so that a client can correct a request in one round.

use prost::Message;

use crate::contract::validate::{self, Validate};
use crate::error::{Error, Result};
use crate::pb::ErrorReason;

/// The largest message that is checked further after it breaks a rule. The further checks may take time in proportion
/// to texts that are too long.
const SEARCHED: usize = 64 << 10;

/// Several results of which none can be used without the others.
pub trait Together {
    /// The values of all results.
    type All;

    /// Returns all values.
    ///
    /// # Errors
    ///
    /// All violations, if several results are errors with violations; otherwise the first error.
    fn together(self) -> Result<Self::All>;
}

macro_rules! together {
    ($($value:ident: $type:ident),+) => {
        impl<$($type),+> Together for ($(Result<$type>,)+) {
            type All = ($($type,)+);

            fn together(self) -> Result<Self::All> {
                match self {
                    ($(Ok($value),)+) => Ok(($($value,)+)),
                    ($($value,)+) => {
                        let errors = [$($value.err()),+].into_iter().flatten();
                        let all = errors.reduce(Error::and);
                        Err(all.unwrap_or_else(|| Error::internal("an error got lost")))
                    }
                }
            }
        }
    };
}

together!(a: A, b: B);
together!(a: A, b: B, c: C);
together!(a: A, b: B, c: C, d: D);
together!(a: A, b: B, c: C, d: D, e: E);

/// Returns all values of a sequence of results.
///
/// # Errors
///
/// All violations, if several results are errors with violations; otherwise the first error.
pub fn all<T>(results: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let (mut values, mut wrong): (_, Option<Error>) = (Vec::new(), None);
    for result in results {
        match (result, wrong.take()) {
            (Ok(value), None) => values.push(value),
            (Ok(_), Some(error)) => wrong = Some(error),
            (Err(error), None) => wrong = Some(error),
            (Err(error), Some(before)) => wrong = Some(before.and(error)),
        }
    }
    wrong.map_or(Ok(values), Err)
}

/// Returns what `read` makes of a message that follows the rules of the contract.
///
/// # Errors
///
/// Every rule that the message breaks, together with what `read` finds wrong.
pub fn checked<M: Validate + Message, R>(message: &M, read: impl FnOnce() -> Result<R>) -> Result<R> {
    let Err(violations) = validate::validate(message) else { return read() };
    let error = Error::Invalid { reason: ErrorReason::FieldInvalid, violations };
    if message.encoded_len() > SEARCHED {
        return Err(error);
    }
    match read() {
        Ok(_) => Err(error),
        Err(beyond) => Err(error.and(beyond)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(field: &str) -> Error {
        Error::invalid(field, "rule", "is wrong")
    }

    fn fields(error: &Error) -> Vec<&str> {
        match error {
            Error::Invalid { violations, .. } => violations.iter().map(|one| one.field.as_str()).collect(),
            other => panic!("no violations: {other:?}"),
        }
    }

    #[test]
    fn errors_of_several_fields_are_told_together() {
        let (fine, bad): (Result<u8>, Result<u8>) = (Ok(1), Err(wrong("b")));
        let error = (fine, Err::<u8, _>(wrong("a")), bad).together().expect_err("two are wrong");
        assert_eq!(fields(&error), ["a", "b"]);
        assert_eq!((Ok(1), Ok("x")).together().expect("both"), (1, "x"));
        let error = all([Ok(1), Err(wrong("[1]")), Ok(2), Err(wrong("[3]"))]).expect_err("two are wrong");
        assert_eq!(fields(&error), ["[1]", "[3]"]);
        assert_eq!(all([Ok(1), Ok(2)]).expect("both"), [1, 2]);
    }

    #[test]
    fn a_field_is_told_once() {
        for (first, second) in [("a", "a"), ("a.b", "a"), ("a", "a.b"), ("a", "a[3].c")] {
            assert_eq!(fields(&wrong(first).and(wrong(second))), [first], "{second}");
        }
        assert_eq!(fields(&wrong("a").and(wrong("ab"))), ["a", "ab"]);
        assert_eq!(fields(&wrong("a[1]").and(wrong("a[12]"))), ["a[1]", "a[12]"]);
    }

    #[test]
    fn a_reason_of_its_own_stays_if_it_is_the_only_one() {
        let token =
            || Error::invalid_because(ErrorReason::PageTokenInvalid, "page_token", "rule", "is wrong");
        assert_eq!(token().and(token()).reason(), ErrorReason::PageTokenInvalid);
        assert_eq!(wrong("a").and(token()).reason(), ErrorReason::FieldInvalid);
        assert_eq!(Error::DeadlineExceeded.and(wrong("a")).reason(), ErrorReason::DeadlineExceeded);
    }

    #[test]
    fn what_lies_beyond_the_rules_is_told_with_them() {
        let request = |name: &str| {
            let customer = crate::pb::Customer { business_name: name.to_owned(), ..Default::default() };
            crate::pb::CreateCustomerRequest { customer: Some(customer), ..Default::default() }
        };
        assert_eq!(checked(&request("Zoe"), || Ok(7)).expect("fine"), 7);
        let error = checked(&request(" "), || Err::<u8, _>(wrong("customer.slug"))).expect_err("both");
        assert_eq!(fields(&error), ["customer.business_name", "customer.slug"]);
        let error = checked(&request(" "), || Ok(7)).expect_err("the rules");
        assert_eq!(fields(&error), ["customer.business_name"]);
        let long = request(&"x".repeat(SEARCHED));
        let error = checked(&long, || -> Result<u8> { panic!("it is not searched") }).expect_err("too long");
        assert_eq!(fields(&error), ["customer.business_name"]);
    }
}
