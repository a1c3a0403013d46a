//! The dashboard: the statistics of a tenant's customers, conversations and campaigns.
//!
//! Each answer has a module. Every answer is read in one snapshot and computed when it is requested, and it
//! reads only rows in the window. The total of customers is kept with them (`customers::counts`), because
//! millions cannot be counted in time.

mod campaigns;
mod conversations;
mod customers;
mod funnel;
mod rules;
mod service;
mod wire;

pub use service::Dashboard;
