//! What makes adding fast and watching live, whatever it is that is added and watched: group commit
//! in fair [`lanes`], fan-out within a process by the [`hub`], between processes by the [`bus`].

pub mod bus;
pub mod hub;
pub mod lanes;
mod queue;
