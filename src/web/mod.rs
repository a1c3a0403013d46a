//! The doors of HTTP: what a client without gRPC calls, on the port of gRPC.
//!
//! Nothing here knows a rule. A door turns a call of its own into one of gRPC, before the layer that knows callers,
//! limits and deadlines, and turns its answer back.
//!
//! - [`routes`]: which RPC a verb and a path mean.

pub mod routes;
