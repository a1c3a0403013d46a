//! A multi-tenant, AI-first CRM backend: one gRPC service over Postgres.
//!
//! Modules in reading order. A noun of the business ([`customers`], [`conversations`], [`questions`],
//! [`faqs`], [`campaigns`], [`engagement`]) has the same modules everywhere: `service` (the generated
//! trait: opens a call, runs one action, answers), `wire` (messages ⇄ rows), `actions` (what one
//! transaction does), `rules` (decisions without I/O), `store` (SQL through diesel, as a rule one
//! statement per function) and `model` (rows that several of these need). [`context`] and [`dashboard`] build on them.
//! docs/architecture/README.md describes the whole.

pub use crm_contract as contract;
pub use crm_contract::pb;

pub mod config;
pub mod server;

pub mod connection;
mod health;
pub mod mcp;
mod reflection;
pub mod startup;
pub mod web;

pub mod campaigns;
pub mod context;
pub mod conversations;
pub mod customers;
pub mod dashboard;
pub mod engagement;
pub mod faqs;
pub mod questions;

mod reindex;

pub mod live;

pub mod audit;
pub mod audit_events;
pub mod auth;
pub mod db;
pub mod error;
pub mod idempotency;
pub mod identity;
pub mod metrics;
pub mod numbers;
pub mod rpc;
pub mod settings;
pub mod telemetry;
pub mod times;
mod tokens;
pub mod traces;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod reasons;
