//! The doors of HTTP: what a client without gRPC calls, on the port of gRPC.
//!
//! Nothing here knows a rule. A door turns a call of its own into one of gRPC, before the layer that knows callers,
//! limits and deadlines, and turns its answer back.
//!
//! - `door`: whether a request is gRPC, REST or something else.
//! - [`routes`]: which RPC a verb and a path mean.
//! - `rest`: REST, with its streams.
//! - `json`: JSON of the contract, in and out.
//! - `refusal`, `frames`: errors as HTTP has them; the frames of gRPC.

mod door;
mod frames;
mod json;
mod refusal;
mod rest;
pub mod routes;

pub use door::{Web, WebLayer};
