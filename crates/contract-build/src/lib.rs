//! What the build scripts make of the protos: the messages and services of the contract, the checks of its rules, the
//! words of its enums, what the service knows about each request and RPC, and the routes and
//! the OpenAPI document of HTTP.
//!
//! A build script compiles the protos once ([`Contract::compile`]), and then writes what its crate includes. The
//! generated code names what it needs by paths of that crate: `crate::validate` and `crate::words` of crm-contract,
//! `crate::rpc` of the service, and the messages as `crate::pb` in both.

mod bindings;
mod contract;
mod ids;
mod methods;
mod openapi;
mod requests;
mod routes;
mod shapes;
mod validation;
mod words;

#[cfg(test)]
mod testing;

pub use contract::{Contract, Error};
