DROP TABLE customer_faqs;
DROP TABLE pending_questions;
