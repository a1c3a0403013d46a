//! The contract as plain values: words of enums, rules of requests, times. Clients could use it as it is: it knows
//! neither calls nor tables.

pub mod times;
pub mod validate;
pub mod words;
