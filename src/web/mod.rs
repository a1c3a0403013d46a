//! The doors of HTTP: what a client without gRPC calls, on the port of gRPC.
//!
//! Nothing here knows a rule. A door turns a call of its own into one of gRPC, before the layer that knows callers,
//! limits and deadlines, and turns its answer back.
//!
//! - `door`: whether a request is gRPC, REST or something else.
//! - [`WebLimits`]: what is bounded here.
//! - [`Cors`]: which web pages may call.
//! - [`routes`]: which RPC a verb and a path mean.
//! - `rest`: REST, with its streams. `connect`: Connect and gRPC-Web.
//! - `json`: JSON of the contract, in and out.
//! - `metadata`, `lazy`: the head and the body of a call, made of those of HTTP. Nothing of the body is read before the
//!   caller is known.
//! - `gzip`: requests and answers that are compressed.
//! - `answers`, `stream_body`: the answer of a call, and a stream of answers.
//! - `refusal`, `frames`: errors as HTTP has them; the frames of gRPC.
//! - [`Probes`]: whether the service lives and serves, for orchestrators and balancers.
//! - [`pages`]: what people and programs read without a credential: the OpenAPI document, its viewer, the first page.

mod answers;
mod connect;
mod cors;
mod door;
mod frames;
mod gzip;
mod json;
mod lazy;
mod limits;
mod metadata;
pub mod pages;
mod probes;
mod refusal;
mod rest;
pub mod routes;
mod stream_body;

pub use cors::Cors;
pub use door::{Web, WebLayer};
pub use limits::WebLimits;
pub use probes::Probes;
