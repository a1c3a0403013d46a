//! The dashboard: what a tenant's customers, conversations and campaigns come to.
//!
//! A room for each answer. Every answer is read in one snapshot and worked out when it is asked for, and
//! what is read of rows lies in the window. How many customers there are in all is kept with them
//! (`customers::counts`), since nobody can count millions in time.

mod campaigns;
mod conversations;
mod customers;
mod funnel;
mod rules;
mod service;
mod wire;

pub use service::Dashboard;
