//! The names, questions and products of a roastery's customers.

use crm_contract::pb::{ConversationOutcome, ObjectionKind, SentimentLabel};

pub(crate) const FIRST: &[&str] =
    &["Café", "Bistro", "Bakery", "Hotel", "Roastery", "Kiosk", "Restaurant", "Deli", "Tearoom", "Canteen"];

pub(crate) const SECOND: &[&str] = &[
    "Zoë",
    "Müller",
    "Aurora",
    "Kopernikus",
    "Løkken",
    "Sonne",
    "Ángel",
    "Nord",
    "Fünf",
    "Mokka",
    "Ostende",
    "Prisma",
    "Quito",
    "Rialto",
    "Stern",
    "Trieste",
];

pub(crate) const CONTACTS: &[&str] =
    &["Zoë Müller", "Ana Ruiz", "Jonas Løkken", "Mei Tanaka", "Omar Haddad", "Eva Novák"];

pub(crate) const CITIES: &[&str] = &["Berlin", "Hamburg", "Wien", "Zürich", "København", "Praha"];

pub(crate) const INDUSTRIES: &[&str] = &["cafe", "restaurant", "hotel", "bakery", "office"];

pub(crate) const SOURCES: &[&str] = &["website", "referral", "fair", "newsletter", "cold call"];

pub(crate) const MODELS: &[(&str, &str)] =
    &[("anthropic", "claude-sonnet"), ("openai", "gpt-4o"), ("mistral", "mistral-large")];

/// Products, each with its price in cents.
pub(crate) const PRODUCTS: &[(&str, &str, u64)] = &[
    ("ESP-1", "Espresso beans 1 kg", 1_890),
    ("FIL-1", "Filter beans 1 kg", 1_790),
    ("DEC-1", "Decaf beans 1 kg", 2_090),
    ("MIL-6", "Oat milk, 6 l", 1_250),
    ("GRI-1", "Grinder", 34_900),
    ("COU-1", "Barista course", 14_900),
];

/// A topic of conversations.
pub(crate) struct Matter {
    pub(crate) topic: &'static str,
    pub(crate) question: &'static str,
    pub(crate) objection: Option<ObjectionKind>,
    pub(crate) mood: SentimentLabel,
    /// The lines of the customer and the agent in turn.
    pub(crate) talk: &'static [&'static str],
}

pub(crate) const MATTERS: &[Matter] = &[
    Matter {
        topic: "delivery",
        question: "Do you deliver on Saturdays?",
        objection: None,
        mood: SentimentLabel::Positive,
        talk: &[
            "Hi! Do you deliver on Saturdays?",
            "We do, within the city and before noon. How much do you need?",
            "About 10 kg a week. Can it be a standing order?",
            "Of course. I can set it up from next week on, and you can pause it at any time.",
        ],
    },
    Matter {
        topic: "prices",
        question: "Is there a discount for 20 kg?",
        objection: Some(ObjectionKind::Price),
        mood: SentimentLabel::Neutral,
        talk: &[
            "Your espresso is dear. Is there a discount for 20 kg?",
            "From 20 kg on it is 8 % less, and delivery is free.",
            "The others give me 12 %.",
            "I understand. With a standing order for three months I can go to 10 %.",
            "Let me think about it.",
            "Take your time. I will send you the offer in writing.",
        ],
    },
    Matter {
        topic: "barista course",
        question: "When is the next barista course?",
        objection: Some(ObjectionKind::Timing),
        mood: SentimentLabel::Positive,
        talk: &[
            "When is the next barista course? I have two new people.",
            "On the first Tuesday of the month, four hours, for up to six.",
            "Tuesday is our busiest day. Is there another?",
            "There is one on a Sunday morning at the end of the month. Shall I hold two places?",
            "Yes, please.",
            "Done: two places, in your name.",
        ],
    },
    Matter {
        topic: "machine",
        question: "Do you repair grinders?",
        objection: Some(ObjectionKind::FeatureGap),
        mood: SentimentLabel::Negative,
        talk: &[
            "Our grinder is broken again. Do you repair grinders?",
            "I am sorry to hear that. We do not repair them, but we can lend you one for two weeks.",
            "That does not help me much.",
            "I will ask a colleague who knows somebody, and call you back today.",
        ],
    },
    Matter {
        topic: "decaf",
        question: "Is the decaf made without solvents?",
        objection: Some(ObjectionKind::Trust),
        mood: SentimentLabel::VeryPositive,
        talk: &[
            "Is the decaf made without solvents? My guests ask.",
            "It is: with carbon dioxide, in Bremen. There is a certificate that you can hang up.",
            "Wonderful, then I take a bag to try.",
            "It will be with tomorrow's delivery.",
        ],
    },
];

/// The outcomes of conversations. Repeated entries are more frequent.
pub(crate) const OUTCOMES: &[ConversationOutcome] = &[
    ConversationOutcome::InformationGiven,
    ConversationOutcome::InformationGiven,
    ConversationOutcome::Interested,
    ConversationOutcome::Interested,
    ConversationOutcome::Qualified,
    ConversationOutcome::MeetingBooked,
    ConversationOutcome::FollowUpNeeded,
    ConversationOutcome::HandedOff,
    ConversationOutcome::NotInterested,
    ConversationOutcome::NoResponse,
];
