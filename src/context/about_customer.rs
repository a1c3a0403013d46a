//! The row of a customer and its consents, as sections of a context.

use super::about_conversations::day;
use super::item::{Item, Section};
use super::words::Words;
use crate::contract::Word;
use crate::customers::consents::store::Consent;
use crate::customers::model::{Address, BrandVoice, BusinessContext, ContentPreferences, Customer};
use crate::db::json::Json;
use crate::db::texts::Texts;
use crate::pb::{ConsentState, ContextSectionKind, ResourceType, Tokenizer};

/// The number of profile fields that come before all others: the customer's name, and its relation to the
/// tenant.
const FIRST_FIELDS: usize = 2;

/// Returns the sections of a customer's own fields, each field an item. The consents come early, so that a
/// small budget leaves them out last.
pub(super) fn sections(customer: &Customer, consents: &[Consent], tokenizer: Tokenizer) -> [Section; 4] {
    let section = |kind, fields: Vec<(Name<'_>, String)>| {
        let about = Some((ResourceType::Customer, customer.id));
        let told = fields.into_iter().filter(|(_, value)| !value.trim().is_empty());
        let items = told.map(|(name, value)| {
            let words = match name {
                Name::Ours(name) => Words::new().ours(name),
                Name::Own(name) => Words::new().name(name),
            };
            Item::line(tokenizer, words.ours(": ").data(&value), about)
        });
        Section { kind, items: items.collect() }
    };
    let mut profile = section(ContextSectionKind::Profile, profile(customer));
    let at = FIRST_FIELDS.min(profile.items.len());
    profile.items.splice(at..at, contact(customer, consents, tokenizer));
    [
        profile,
        section(ContextSectionKind::BusinessContext, business_context(&customer.business_context.0)),
        section(ContextSectionKind::BrandVoice, brand_voice(&customer.brand_voice.0)),
        section(ContextSectionKind::ContentPreferences, content_preferences(&customer.content_preferences.0)),
    ]
}

/// Returns where a customer does and does not want to be contacted, in the order of the channels.
fn contact(customer: &Customer, consents: &[Consent], tokenizer: Tokenizer) -> Vec<Item> {
    let mut consents: Vec<_> = consents.iter().collect();
    consents.sort_unstable_by_key(|consent| i32::from(consent.channel.0));
    let item = |consent: &Consent| {
        let (may, what) = match consent.state.0 {
            ConsentState::OptedIn => ("May be contacted", "opted in"),
            ConsentState::OptedOut => ("Do not contact", "opted out"),
            ConsentState::SpamReported => ("Do not contact", "reported spam"),
            ConsentState::Unspecified => return None,
        };
        let channel = consent.channel.0.word();
        let words = Words::new().ours(may).ours(" by ").ours(channel).ours(": ").ours(what).ours(" on ");
        let words = words.data(&day(consent.occurred_at));
        Some(Item::line(tokenizer, words, Some((ResourceType::Customer, customer.id))))
    };
    consents.into_iter().filter_map(item).collect()
}

/// The name of a field.
enum Name<'c> {
    /// A name of the contract.
    Ours(&'static str),
    /// A name of the tenant.
    Own(&'c str),
}

/// Returns fields with names of the contract.
fn ours<'c>(fields: Vec<(&'static str, String)>) -> Vec<(Name<'c>, String)> {
    fields.into_iter().map(|(name, value)| (Name::Ours(name), value)).collect()
}

fn profile(customer: &Customer) -> Vec<(Name<'_>, String)> {
    let Customer {
        id: _,
        business_name,
        sort_name: _,
        slug: _,
        contact_name,
        email,
        phone,
        phone_e164: _,
        website,
        address: Json(address),
        industry_category,
        size,
        status,
        source,
        owner,
        tags: Texts(tags),
        external_ids: _,
        business_context: _,
        brand_voice: _,
        content_preferences: _,
        custom_attributes,
        deleted_at: _,
        created_at: _,
        updated_at: _,
        revision: _,
    } = customer;
    let mut fields = ours(vec![
        ("Name", business_name.clone()),
        ("Status", status.0.word().to_owned()),
        ("Contact", contact_name.clone()),
        ("Industry", industry_category.clone()),
        ("Size", size.clone()),
        ("E-mail", email.clone()),
        ("Phone", phone.clone()),
        ("Website", website.clone()),
        ("Address", postal(address)),
        ("Came from", source.clone()),
        ("Responsible", owner.clone()),
        ("Tags", tags.join(", ")),
    ]);
    if let serde_json::Value::Object(attributes) = custom_attributes {
        fields.extend(attributes.iter().map(|(name, value)| (Name::Own(name), plain(value))));
    }
    fields
}

fn postal(address: &Address) -> String {
    let Address { address, city, region, postal_code, country_code } = address;
    let place = [postal_code.as_str(), city.as_str()].join(" ");
    let parts = [address.trim(), place.trim(), region.trim(), country_code.as_str()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Returns a value of the tenant's own: a text as it is, any other value as JSON.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn business_context(context: &BusinessContext) -> Vec<(Name<'_>, String)> {
    let BusinessContext {
        description,
        products_and_services,
        target_audience,
        value_proposition,
        competitors,
        goals,
        challenges,
    } = context;
    ours(vec![
        ("Description", description.clone()),
        ("Products and services", list(products_and_services)),
        ("Sells to", target_audience.clone()),
        ("Why they buy", value_proposition.clone()),
        ("Goals", list(goals)),
        ("Challenges", list(challenges)),
        ("Competitors", list(competitors)),
    ])
}

fn brand_voice(voice: &BrandVoice) -> Vec<(Name<'_>, String)> {
    let BrandVoice { tone, style, vocabulary, dos, donts, sample_texts } = voice;
    let mut fields = vec![
        ("Tone", tone.clone()),
        ("Style", style.clone()),
        ("Do", list(dos)),
        ("Don't", list(donts)),
        ("Vocabulary", list(vocabulary)),
    ];
    fields.extend(sample_texts.iter().map(|text| ("Sample", text.clone())));
    ours(fields)
}

fn content_preferences(preferences: &ContentPreferences) -> Vec<(Name<'_>, String)> {
    let ContentPreferences { topics, formats, preferred_channels, languages, frequency, avoid } = preferences;
    let channels: Vec<_> = preferred_channels.iter().map(|channel| channel.0.word()).collect();
    ours(vec![
        ("Languages", list(languages)),
        ("Topics", list(topics)),
        ("Avoid", list(avoid)),
        ("Channels", channels.join("; ")),
        ("Formats", list(formats)),
        ("How often", frequency.clone()),
    ])
}

fn list(entries: &[String]) -> String {
    entries.join("; ")
}
