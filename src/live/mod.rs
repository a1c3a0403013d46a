//! What makes the service fast and live, for any of its nouns.
//!
//! Group commit runs in fair [`lanes`]. Lookups go together in the [`finder`]. The [`hub`] fans events out
//! within a process, and the [`bus`] does so between processes.

pub mod bus;
pub mod drought;
pub mod finder;
pub mod hub;
pub mod lanes;
mod queue;
