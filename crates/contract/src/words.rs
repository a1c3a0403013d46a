//! The names of the enums' values, in full and without their prefix.

use std::fmt::Debug;

/// The implementations that the build generated.
mod generated {
    include!(concat!(env!("OUT_DIR"), "/words.rs"));
}

/// An enum of the contract, with its names. The build implements it for every enum of the package.
pub trait Word: Copy + Debug + Eq + TryFrom<i32> + Into<i32> + 'static {
    /// The enum's name in the proto: `CustomerStatus`.
    const NAME: &'static str;

    /// The prefix of the full names of all its values: `CUSTOMER_STATUS_`.
    const PREFIX: &'static str;

    /// The value's name in the proto: `CUSTOMER_STATUS_LEAD`.
    fn full_name(self) -> &'static str;

    /// Returns the value with this name in the proto.
    fn from_full_name(name: &str) -> Option<Self>;

    /// Returns the value with this name without its prefix; `None` for `UNSPECIFIED`, which is not stored.
    fn from_word(word: &str) -> Option<Self>;

    /// The name without its prefix: `LEAD`.
    fn word(self) -> &'static str {
        let name = self.full_name();
        name.strip_prefix(Self::PREFIX).unwrap_or(name)
    }
}
