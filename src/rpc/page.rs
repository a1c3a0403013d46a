//! Pages: their sizes, and tokens that clients cannot forge.
//!
//! A token is `base64url(cursor ‖ tag)`. The cursor is the key of the last row of the previous page. The tag is an
//! HMAC-SHA-256 (RFC 2104) under a key that all replicas share, over the cursor and what it belongs to: tenant,
//! method, filters and order. So a token is valid for one list of one tenant only, and does not reveal what it
//! belongs to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use uuid::Uuid;

use super::{Call, Context};
use crate::db::fitted::Rows;
use crate::error::{Error, Result};
use crate::idempotency::fingerprint;
use crate::identity::Caller;
use crate::numbers;
use crate::pb::ErrorReason;

/// The rows of a page if the client sets no size: a screenful.
pub const DEFAULT_PAGE_SIZE: usize = 50;

/// The maximum number of rows of a page: a few hundred kilobytes of ordinary rows.
pub const MAX_PAGE_SIZE: usize = 500;

/// The maximum bytes of a page. Only a page of a single row may have more: such a row is a message, or at most
/// [`MAX_RESOURCE_BYTES`](super::size::MAX_RESOURCE_BYTES). So an answer stays below the 4 MiB that gRPC clients
/// accept by default.
pub const MAX_PAGE_BYTES: usize = 2 << 20;

/// The bytes of a tag: half of the hash, which leaves 2^128 values to guess from.
const TAG: usize = 16;

/// A request for a page of a list.
pub trait Paged: Message + Sized {
    /// The number of rows that the client wants; 0 if it sets none.
    fn page_size(&self) -> i32;
    /// The token of the previous page; empty for the first page.
    fn page_token(&self) -> &str;
    /// The request without both fields: filters and order, to which a token is tied.
    fn without_page(&self) -> Self;
}

/// A page to read: its size, and the row after which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<C> {
    /// The maximum number of rows.
    pub size: usize,
    /// The key of the last row of the previous page.
    pub after: Option<C>,
}

impl<C> Page<C> {
    /// The number of rows to read: one more than the page has, to know whether there are more.
    pub fn limit(&self) -> i64 {
        numbers::count(self.size) + 1
    }

    /// Cuts rows to the page. They are cut short if there are more.
    pub fn cut<T>(&self, rows: Rows<T>) -> Rows<T> {
        let Rows { mut rows, cut_short } = rows;
        let cut_short = cut_short || rows.len() > self.size;
        rows.truncate(self.size);
        Rows { rows, cut_short }
    }
}

/// Converts `rows` to the messages of a page, up to [`MAX_PAGE_BYTES`] and at least one, and returns where the next
/// page begins. `end` returns the cursor of a page whose last row is the given one.
pub fn fit<R, M, C>(rows: Vec<R>, next: Option<C>, end: impl Fn(&R) -> C) -> (Vec<M>, Option<C>)
where
    M: Message + From<R>,
{
    let mut messages = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    let mut last = None;
    for row in rows {
        let cursor = end(&row);
        let message = M::from(row);
        bytes += in_a_list(&message);
        if bytes > MAX_PAGE_BYTES && last.is_some() {
            return (messages, last);
        }
        messages.push(message);
        last = Some(cursor);
    }
    (messages, next)
}

/// The bytes of a message in a list: its own, its tag and its length.
fn in_a_list(message: &impl Message) -> usize {
    let length = message.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

/// The key under which this service signs its page tokens.
#[derive(Clone)]
pub struct PageKey(Vec<u8>);

impl PageKey {
    /// A key of at least 32 random bytes.
    pub fn new(key: Vec<u8>) -> Self {
        Self(key)
    }

    /// Returns the page that a call asks for.
    ///
    /// # Errors
    ///
    /// `PAGE_TOKEN_INVALID` if the token is not from this service, or not for this list of this tenant.
    pub fn open<T: Paged, C: DeserializeOwned>(&self, call: &Call<T>) -> Result<Page<C>> {
        let size = match numbers::size(call.message.page_size()) {
            0 => DEFAULT_PAGE_SIZE,
            size => size.min(MAX_PAGE_SIZE),
        };
        let after = match call.message.page_token() {
            "" => None,
            token => Some(self.read(call, token).ok_or_else(foreign_token)?),
        };
        Ok(Page { size, after })
    }

    /// Returns the messages of the page that a call asked for, and the token of the next page; the token is empty after
    /// the last page. `rows` are those of the list from where the page begins, and one more if there is one. `at`
    /// returns the cursor of a page whose last row is the given one. A page has at most [`MAX_PAGE_BYTES`].
    ///
    /// # Errors
    ///
    /// If the cursor cannot be encoded: a bug of this service.
    pub fn finish<T, C, R, M>(
        &self,
        call: &Call<T>,
        page: &Page<C>,
        rows: Rows<R>,
        at: impl Fn(&R) -> C,
    ) -> Result<(Vec<M>, String)>
    where
        T: Paged,
        C: Serialize,
        M: Message + From<R>,
    {
        let Rows { rows, cut_short } = page.cut(rows);
        let next = rows.last().filter(|_| cut_short).map(&at);
        let (messages, next) = fit(rows, next, at);
        Ok((messages, self.next(call, next)?))
    }

    /// Returns the token for the rows after `cursor` of the list that a call asked for; empty without a cursor.
    ///
    /// # Errors
    ///
    /// If the cursor cannot be encoded: a bug of this service.
    pub fn next<T: Paged, C: Serialize>(&self, call: &Call<T>, cursor: Option<C>) -> Result<String> {
        let Some(cursor) = &cursor else { return Ok(String::new()) };
        let mut bytes = serde_json::to_vec(cursor).map_err(Error::internal)?;
        let tag = self.mac(&call.context, &call.message, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(tag.get(..TAG).unwrap_or_default());
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Returns a token for a position within a resource of the caller's tenant.
    pub fn write_position(&self, caller: &Caller, of: Uuid, position: &impl Serialize) -> String {
        // Positions can always be encoded as JSON.
        let mut bytes = serde_json::to_vec(position).unwrap_or_default();
        let tag = self.position_mac(caller, of, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(tag.get(..TAG).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns the position of a token; `None` if the token is not from this service, or not for this resource.
    pub fn read_position<P: DeserializeOwned>(&self, caller: &Caller, of: Uuid, token: &str) -> Option<P> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (position, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        self.position_mac(caller, of, position).verify_truncated_left(tag).ok()?;
        serde_json::from_slice(position).ok()
    }

    fn position_mac(&self, caller: &Caller, of: Uuid, position: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.new_mac();
        mac.update(caller.tenant().as_uuid().as_bytes());
        mac.update(of.as_bytes());
        // No method's name in a page token is this long.
        mac.update(&u64::MAX.to_be_bytes());
        mac.update(position);
        mac
    }

    fn read<T: Paged, C: DeserializeOwned>(&self, call: &Call<T>, token: &str) -> Option<C> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (cursor, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        self.mac(&call.context, &call.message, cursor).verify_truncated_left(tag).ok()?;
        serde_json::from_slice(cursor).ok()
    }

    fn mac<T: Paged>(&self, context: &Context, message: &T, cursor: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.new_mac();
        mac.update(context.caller.tenant().as_uuid().as_bytes());
        mac.update(&fingerprint(&message.without_page()));
        mac.update(&numbers::count(context.method.name.len()).to_be_bytes());
        mac.update(context.method.name.as_bytes());
        mac.update(cursor);
        mac
    }

    fn new_mac(&self) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC accepts keys of any length; no other key may stand in")]
        Hmac::new_from_slice(&self.0).expect("a key of any length")
    }
}

fn foreign_token() -> Error {
    Error::invalid_because(
        ErrorReason::PageTokenInvalid,
        "page_token",
        "page_token",
        "must be the next_page_token of this list, with the same filters and order; leave it empty to start again",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::Duration;

    use super::*;
    use crate::db::Deadline;
    use crate::identity::Caller;
    use crate::pb::{ListConversationAnalysesRequest, ListCustomersRequest};
    use crate::rpc::method::Method;

    type Cursor = (String, Uuid);

    const LIST: &str = "/crm.v1.CustomerService/ListCustomers";

    fn call<T>(tenant: u128, path: &str, message: T) -> Call<T> {
        let caller = Caller::caretaker(Uuid::from_u128(tenant));
        let method = Method::find(path).expect("an RPC");
        let deadline = Deadline::after(Duration::from_secs(1));
        Call {
            context: Context {
                freshness: None,
                caller,
                method,
                deadline,
                id: Uuid::nil(),
                subject: Default::default(),
                costs: Default::default(),
            },
            message,
        }
    }

    fn list(token: &str) -> ListCustomersRequest {
        ListCustomersRequest { page_token: token.to_owned(), owner: "zoe".to_owned(), ..Default::default() }
    }

    fn key() -> PageKey {
        PageKey::new(vec![7; 32])
    }

    proptest! {
        #[test]
        fn a_token_reads_back(name in ".*", id: u128, size in 0..1000) {
            let cursor: Cursor = (name, Uuid::from_u128(id));
            let token = key().next(&call(1, LIST, list("")), Some(&cursor)).expect("a token");
            let request = ListCustomersRequest { page_size: size, ..list(&token) };
            let page: Page<Cursor> = key().open(&call(1, LIST, request)).expect("our own token");
            prop_assert_eq!(page.after, Some(cursor));
            prop_assert!((1..=MAX_PAGE_SIZE).contains(&page.size));
        }

        #[test]
        fn no_other_bytes_are_a_token(token in "[A-Za-z0-9_-]{0,200}") {
            prop_assume!(!token.is_empty());
            prop_assert!(key().open::<_, Cursor>(&call(1, LIST, list(&token))).is_err());
        }

        #[test]
        fn a_flipped_bit_is_found(position: prop::sample::Index, bit in 0..8u8) {
            let cursor: Cursor = ("Café".to_owned(), Uuid::from_u128(5));
            let token = key().next(&call(1, LIST, list("")), Some(&cursor)).expect("a token");
            let mut bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64url");
            let index = position.index(bytes.len());
            bytes[index] ^= 1 << bit;
            let forged = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert!(key().open::<_, Cursor>(&call(1, LIST, list(&forged))).is_err());
        }
    }

    #[test]
    fn a_token_fits_one_list_of_one_tenant() {
        let cursor: Cursor = ("a".to_owned(), Uuid::from_u128(5));
        let token = key().next(&call(1, LIST, list("")), Some(&cursor)).expect("a token");
        let refused = |key: &PageKey, call: &Call<ListCustomersRequest>| {
            key.open::<_, Cursor>(call).is_err_and(|error| error.reason() == ErrorReason::PageTokenInvalid)
        };
        assert!(!refused(&key(), &call(1, LIST, list(&token))));
        assert!(refused(&key(), &call(2, LIST, list(&token))), "another tenant");
        assert!(
            refused(&key(), &call(1, "/crm.v1.ConversationService/ListConversations", list(&token))),
            "another method"
        );
        let other = ListCustomersRequest { owner: String::new(), ..list(&token) };
        assert!(refused(&key(), &call(1, LIST, other)), "another filter");
        let other = ListCustomersRequest { order_by: "business_name".to_owned(), ..list(&token) };
        assert!(refused(&key(), &call(1, LIST, other)), "another order");
        assert!(refused(&PageKey::new(vec![8; 32]), &call(1, LIST, list(&token))), "another key");
        let analyses = ListConversationAnalysesRequest { page_token: token, ..Default::default() };
        assert!(key().open::<_, Cursor>(&call(1, LIST, analyses)).is_err(), "another request");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_page_ends_before_the_row_that_takes_it_over_its_bytes(
            sizes in proptest::collection::vec(0..MAX_PAGE_BYTES + MAX_PAGE_BYTES / 2, 1..6),
            more: bool,
        ) {
            let rows: Vec<_> = sizes
                .iter()
                .map(|size| prost_types::Any { value: vec![0; *size], ..Default::default() })
                .collect();
            let all = rows.len();
            let next = more.then_some(usize::MAX);
            let (page, next) = fit::<_, prost_types::Any, _>(rows.clone(), next, |any| any.value.len());
            prop_assert_eq!(&page[..], &rows[..page.len()]);
            let bytes = |count: usize| rows.iter().take(count).map(in_a_list).sum::<usize>();
            prop_assert!(page.len() == 1 || bytes(page.len()) <= MAX_PAGE_BYTES);
            if page.len() < all {
                prop_assert!(bytes(page.len() + 1) > MAX_PAGE_BYTES);
                prop_assert_eq!(next, Some(sizes[page.len() - 1]));
            } else {
                prop_assert_eq!(next, more.then_some(usize::MAX));
            }
        }
    }

    #[test]
    fn a_page_that_is_cut_by_rows_or_bytes_names_its_last_row() {
        let any = |size: usize| prost_types::Any { value: vec![0; size], ..Default::default() };
        let page = |size| Page::<usize> { size, after: None };
        let again = |token: &str| call(1, LIST, list(token));
        for (size, rows, expected) in [
            (2, Rows::all(vec![any(1), any(2)]), (2, None)),
            (2, Rows::all(vec![any(1), any(2), any(3)]), (2, Some(2))),
            (3, Rows { rows: vec![any(1), any(2)], cut_short: true }, (2, Some(2))),
            (3, Rows::all(vec![any(1), any(MAX_PAGE_BYTES), any(3)]), (1, Some(1))),
        ] {
            let (messages, token): (Vec<prost_types::Any>, _) =
                key().finish(&again(""), &page(size), rows, |any| any.value.len()).expect("a page");
            let next: Page<usize> = key().open(&again(&token)).expect("our own");
            assert_eq!((messages.len(), next.after), expected);
        }
    }

    #[test]
    fn one_row_more_tells_of_another_page() {
        let page = Page::<Cursor> { size: 2, after: None };
        assert_eq!(page.limit(), 3);
        let cut = |rows: Vec<i32>, cut_short| Rows { rows, cut_short };
        assert_eq!(page.cut(Rows::all(vec![1, 2, 3])), cut(vec![1, 2], true));
        assert_eq!(page.cut(cut(vec![1, 2], true)), cut(vec![1, 2], true));
        assert_eq!(page.cut(Rows::all(vec![1, 2])), cut(vec![1, 2], false));
        assert_eq!(page.cut(cut(vec![1], true)), cut(vec![1], true));
    }
}
