//! What makes the service fast and live, for any of its nouns: group commit in fair [`lanes`], lookups that go
//! together in the [`finder`], fan-out within a process by the [`hub`], and between processes by the [`bus`].

pub mod bus;
pub mod drought;
pub mod finder;
pub mod hub;
pub mod lanes;
mod queue;
