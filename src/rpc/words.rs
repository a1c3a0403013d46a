//! Enums of the protos as words in text columns.
//!
//! The enums that prost generates are the one vocabulary: rows, rules and actions use them as they
//! are, and there is no second list of words to keep in step. They are the exception, though:
//! messages stay in `service.rs`. `build/words.rs` writes one [`Word`] for every enum of the
//! package; a column holds the name without its prefix, and `UNSPECIFIED` is never stored: it is
//! NULL, or the column has a default.
//!
//! A word that this build does not know is one of a newer version, whose replica stored it while this one still
//! serves. It reads as `UNSPECIFIED`, so that a page with such a row is still a page. It cannot be written back: what
//! would lose it is refused, and done by a replica of that version.

use std::fmt::Debug;
use std::io::Write as _;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The implementations that the build wrote.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/words.rs"));
}

/// An enum of the protos, by its names.
pub trait Word: Copy + Debug + Eq + TryFrom<i32> + Into<i32> + 'static {
    /// The enum's name in the proto: `CustomerStatus`.
    const NAME: &'static str;

    /// What the full names of all its values start with: `CUSTOMER_STATUS_`.
    const PREFIX: &'static str;

    /// The value's name in the proto: `CUSTOMER_STATUS_LEAD`.
    fn full_name(self) -> &'static str;

    /// The value with that name in the proto.
    fn from_full_name(name: &str) -> Option<Self>;

    /// The value that a column stores as `word`. `UNSPECIFIED` is not such a word.
    fn from_word(word: &str) -> Option<Self>;

    /// The name without its prefix: `LEAD`.
    fn word(self) -> &'static str {
        let name = self.full_name();
        name.strip_prefix(Self::PREFIX).unwrap_or(name)
    }
}

/// What is said of a value that is not to be stored: it stands for a word that this build does not know.
pub(crate) const UNKNOWN_WORD: &str = "a word of a newer version cannot be written by this one";

/// How an enum stands in a text column: `Text(CustomerStatus::Lead)` is `LEAD`. `UNSPECIFIED` is a word that this build
/// does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = sql_types::Text)]
pub struct Text<E: Word>(pub E);

impl<E: Word> FromSql<sql_types::Text, Pg> for Text<E> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        read(str::from_utf8(value.as_bytes())?).ok_or_else(|| format!("{} has no zero", E::NAME).into())
    }
}

impl<E: Word> ToSql<sql_types::Text, Pg> for Text<E> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        if self.0.into() == 0 {
            return Err(UNKNOWN_WORD.into());
        }
        out.write_all(self.0.word().as_bytes())?;
        Ok(IsNull::No)
    }
}

/// In jsonb an enum stands as it does in a text column.
impl<E: Word> Serialize for Text<E> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if self.0.into() == 0 {
            return Err(serde::ser::Error::custom(UNKNOWN_WORD));
        }
        out.serialize_str(self.0.word())
    }
}

impl<'de, E: Word> Deserialize<'de> for Text<E> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(from)?;
        read(&word).ok_or_else(|| serde::de::Error::custom(format_args!("{} has no zero", E::NAME)))
    }
}

/// The value that a word stands for; `UNSPECIFIED` for one that this build does not know. Every enum has that.
fn read<E: Word>(word: &str) -> Option<Text<E>> {
    E::from_word(word).or_else(|| E::try_from(0).ok()).map(Text)
}

/// What to store for a field of a message: nothing for `UNSPECIFIED`, and nothing for a value that
/// this build does not know, which validation refuses before (`enum.defined_only`).
pub fn stored<E: Word>(value: i32) -> Option<Text<E>> {
    (value != 0).then(|| E::try_from(value).ok().map(Text))?
}

/// What to store for a repeated field of a message, as [`stored`] has it for each.
pub fn stored_each<E: Word>(values: &[i32]) -> Vec<Text<E>> {
    values.iter().filter_map(|value| stored(*value)).collect()
}

/// What a field of a message says for a stored word: `UNSPECIFIED` for none.
pub fn wire<E: Word>(text: Option<Text<E>>) -> i32 {
    text.map_or(0, |Text(value)| value.into())
}
