//! The enums of the protos as words in text columns.
//!
//! The enums that prost generates are the only vocabulary: rows, rules and actions use them directly, and there is no
//! second list of words to keep in step. The build generates one [`Word`] for every enum of the package. A column
//! stores the name without its prefix. `UNSPECIFIED` is never stored: it becomes NULL, or the column's default.
//!
//! An unknown word comes from a newer version, whose replica stored it while this one still serves. It reads as
//! `UNSPECIFIED`, so that a page with such a row can still be read. It cannot be written back: a change that would
//! lose it is refused here, and a replica of the newer version can do it.

use std::io::Write as _;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contract::Word;
use crate::error::UNKNOWN_WORD;

/// The form of an enum in a text column: `Text(CustomerStatus::Lead)` is `LEAD`. `UNSPECIFIED` stands for a word that
/// this build does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[cfg_attr(test, derive(Default))]
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

/// In jsonb an enum has the same form as in a text column.
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

/// Returns the value of a word; `UNSPECIFIED`, which every enum has, for a word that this build does not know.
fn read<E: Word>(word: &str) -> Option<Text<E>> {
    E::from_word(word).or_else(|| E::try_from(0).ok()).map(Text)
}

/// Returns what to store for a field of a message: `None` for `UNSPECIFIED`, and for a value that this build does not
/// know. Validation refuses such values before (`enum.defined_only`).
pub fn stored<E: Word>(value: i32) -> Option<Text<E>> {
    (value != 0).then(|| E::try_from(value).ok().map(Text))?
}

/// Returns what to store for a repeated field of a message, by [`stored`] for each value.
pub fn stored_each<E: Word>(values: &[i32]) -> Vec<Text<E>> {
    values.iter().filter_map(|value| stored(*value)).collect()
}

/// Returns the field of a message for a stored word; `UNSPECIFIED` if the column is NULL.
pub fn wire<E: Word>(text: Option<Text<E>>) -> i32 {
    text.map_or(0, |Text(value)| value.into())
}
