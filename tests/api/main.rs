//! The service as its clients see it, against a Postgres of its own.
//!
//! One binary, so that all tests of a run share one Postgres; every test has a database of its own
//! in it. Tests say what is true: their names are sentences.
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests say what they expect by failing")]

#[expect(dead_code, reason = "the tests of the process use the rest of it")]
#[path = "../process/harness.rs"]
mod harness;
mod support;

mod add_message;
mod analyses;
mod answers;
mod api_keys;
mod audit;
mod audit_messages;
mod audit_plans;
mod authentication;
mod bad_input;
mod batches;
mod bus;
mod campaign_assignments;
mod campaign_crowds;
mod campaign_events;
mod campaign_performance;
mod campaign_plans;
mod campaign_revenues;
mod campaigns;
mod catalog;
mod citus;
mod compression;
mod connections;
mod consents;
mod context;
mod contract;
mod conversation_pages;
mod conversations;
mod counts;
mod credential_ends;
mod customers;
mod dashboard_campaigns;
mod dashboard_conversations;
mod dashboard_customers;
mod dashboard_funnel;
mod dashboard_plans;
mod dashboard_totals;
mod deltas_without_bus;
mod engagement_context;
mod engagement_interest;
mod engagement_plans;
mod engagement_purchases;
mod engagement_refunds;
mod engagement_scores;
mod fairness;
mod faq_observations;
mod faq_plans;
mod faq_search;
mod faqs;
mod idempotency;
mod isolation;
mod leaks;
mod lifecycle;
mod limits;
mod masks;
mod messages;
mod metadata;
mod mtls;
mod odd_input;
mod odd_texts;
mod odd_times;
mod page_tokens;
mod pages;
mod plans;
mod prepared;
mod protocol;
mod question_answers;
mod question_plans;
mod question_steps;
mod questions;
mod questions_next;
mod rates;
mod reflection;
mod refusals;
mod rules;
mod search;
mod sessions;
mod sizes;
mod sqlstates;
mod statements;
mod streams;
mod tenancy;
mod texts;
mod tls;
mod token_keys;
mod tokens;
mod watch;
mod words;
