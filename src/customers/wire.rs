//! Messages ⇄ rows. Every mapping names every field, so that a new field does not compile until it has its
//! place.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::model::{Address, ContentPreferences, Customer, ExternalId};
use super::store::{Filter, OrderKey, View};
use super::words::{self, Asked};
use super::{phone, rules};
use crate::db::json::Json;
use crate::db::keyset::Direction;
use crate::db::texts::Texts;
use crate::db::words::{Text, stored, stored_each, wire};
use crate::pb;
use crate::rpc::etag::Etag;
use crate::rpc::{self, structs};
use crate::times;

/// Maps rows and messages to each other. Fields that are the same in both are named once.
macro_rules! mapped {
    (same: $($same:ident),+; address: $($address:ident),+) => {
        impl From<Customer> for pb::Customer {
            fn from(row: Customer) -> Self {
                let anonymous = row.business_name.is_empty();
                let Customer {
                    $($same,)+
                    id,
                    sort_name: _,
                    slug,
                    phone_e164,
                    address: Json(Address { $($address),+ }),
                    status,
                    tags: Texts(tags),
                    external_ids: Json(external_ids),
                    business_context: Json(business_context),
                    brand_voice: Json(brand_voice),
                    content_preferences: Json(content_preferences),
                    custom_attributes,
                    deleted_at,
                    created_at,
                    updated_at,
                    revision,
                } = row;
                Self {
                    anonymous,
                    $($same,)+
                    $($address,)+
                    id: id.to_string(),
                    slug,
                    external_ids: external_ids.into_iter().map(Into::into).collect(),
                    status: wire(Some(status)),
                    tags,
                    business_context: set(business_context).map(Into::into),
                    brand_voice: set(brand_voice).map(Into::into),
                    content_preferences: set(content_preferences).map(Into::into),
                    custom_attributes: structs::from_json(&custom_attributes),
                    create_time: Some(times::to_wire(created_at)),
                    update_time: Some(times::to_wire(updated_at)),
                    delete_time: deleted_at.map(times::to_wire),
                    etag: Etag::of(id, revision, updated_at).to_string(),
                    phone_e164,
                }
            }
        }

        fn row(
            wanted: pb::Customer,
            blank: Blank,
            deleted_at: Option<DateTime<Utc>>,
            updated_at: DateTime<Utc>,
            revision: i64,
        ) -> Customer {
            let pb::Customer {
                $($same,)+
                $($address,)+
                id: _,
                anonymous: _,
                slug,
                external_ids,
                status,
                tags,
                business_context,
                brand_voice,
                content_preferences,
                custom_attributes,
                create_time: _,
                update_time: _,
                delete_time: _,
                etag: _,
                phone_e164: _,
            } = wanted;
            derived(Customer {
                $($same,)+
                id: blank.id,
                sort_name: String::new(),
                slug: if slug.is_empty() { blank.slug } else { slug },
                phone_e164: String::new(),
                address: Json(Address { $($address),+ }),
                status: stored(status).unwrap_or(blank.status),
                tags: Texts(tags),
                external_ids: Json(external_ids.into_iter().map(Into::into).collect()),
                business_context: Json(business_context.map(Into::into).unwrap_or_default()),
                brand_voice: Json(brand_voice.map(Into::into).unwrap_or_default()),
                content_preferences: Json(content_preferences.map(Into::into).unwrap_or_default()),
                custom_attributes: structs::to_json(custom_attributes.as_ref()),
                deleted_at,
                created_at: blank.created_at,
                updated_at,
                revision,
            })
        }
    };
}

mapped! {
    same: business_name, contact_name, email, phone, website, industry_category, size, source, owner;
    address: address, city, region, postal_code, country_code
}

/// Returns a group of fields; `None` if all of them are empty, as when the client sent no group.
fn set<T: Default + PartialEq>(group: T) -> Option<T> {
    (group != T::default()).then_some(group)
}

/// Returns the row of a new customer. Its slug may be empty: the action then makes one. Fields that the server
/// sets are not taken from the client.
pub(crate) fn create(wanted: pb::Customer, id: Uuid, now: DateTime<Utc>) -> Customer {
    let blank = Blank { id, slug: String::new(), status: Text(pb::CustomerStatus::Lead), created_at: now };
    row(wanted, blank, None, now, 1)
}

/// Returns the row of a customer that a client changed. Fields that only the server writes stay as they are.
pub(crate) fn update(wanted: pb::Customer, current: &Customer) -> Customer {
    let blank = Blank {
        id: current.id,
        slug: current.slug.clone(),
        status: current.status,
        created_at: current.created_at,
    };
    row(wanted, blank, current.deleted_at, current.updated_at, current.revision)
}

/// Returns the row with the columns that are derived from its texts.
pub(crate) fn derived(row: Customer) -> Customer {
    Customer {
        sort_name: rules::sort_name(&row.business_name),
        phone_e164: phone::e164(&row.phone, &row.address.0.country_code),
        ..row
    }
}

/// The values of a row for fields that are empty in the message.
struct Blank {
    id: Uuid,
    slug: String,
    status: Text<pb::CustomerStatus>,
    created_at: DateTime<Utc>,
}

/// Returns which customers a list shows; `None` if the query has no word that any customer could have.
pub(crate) fn filter(tenant: Uuid, request: &pb::ListCustomersRequest) -> Option<Filter> {
    if !request.query.is_empty() && !words::has_words(&request.query) {
        return None;
    }
    let pb::ListCustomersRequest { query, tags, email, phone, .. } = request;
    Some(Filter {
        search: words::search(tenant, Asked { query, tags, email, phone }),
        statuses: stored_each(&request.statuses),
        industry_category: rpc::non_empty(&request.industry_category),
        owner: rpc::non_empty(&request.owner),
        external_id: request.external_id.clone().map(Into::into),
        source: rpc::non_empty(&request.source),
        created_from: times::optional(request.create_time_from.as_ref()),
        created_until: times::optional(request.create_time_until.as_ref()),
        updated_from: times::optional(request.update_time_from.as_ref()),
        updated_until: times::optional(request.update_time_until.as_ref()),
        show_deleted: request.show_deleted,
    })
}

impl From<ExternalId> for pb::ExternalId {
    fn from(row: ExternalId) -> Self {
        let ExternalId { source, id } = row;
        Self { source, id }
    }
}

impl From<pb::ExternalId> for ExternalId {
    fn from(message: pb::ExternalId) -> Self {
        let pb::ExternalId { source, id } = message;
        Self { source, id }
    }
}

impl From<ContentPreferences> for pb::ContentPreferences {
    fn from(row: ContentPreferences) -> Self {
        let ContentPreferences { topics, formats, preferred_channels, languages, frequency, avoid } = row;
        let preferred_channels = preferred_channels.into_iter().map(|channel| wire(Some(channel))).collect();
        Self { topics, formats, preferred_channels, languages, frequency, avoid }
    }
}

impl From<pb::ContentPreferences> for ContentPreferences {
    fn from(message: pb::ContentPreferences) -> Self {
        let pb::ContentPreferences { topics, formats, preferred_channels, languages, frequency, avoid } =
            message;
        let preferred_channels = stored_each(&preferred_channels);
        Self { topics, formats, preferred_channels, languages, frequency, avoid }
    }
}

/// Returns how much of each customer a list shows.
pub(crate) fn view(view: pb::CustomerView) -> View {
    match view {
        pb::CustomerView::Full => View::Full,
        pb::CustomerView::Unspecified | pb::CustomerView::Basic => View::Basic,
    }
}

/// Returns the part of a customer that a view shows.
pub(crate) fn viewed(customer: Customer, view: pb::CustomerView) -> pb::Customer {
    let customer = pb::Customer::from(customer);
    match view {
        pb::CustomerView::Unspecified | pb::CustomerView::Full => customer,
        pb::CustomerView::Basic => pb::Customer {
            business_context: None,
            brand_voice: None,
            content_preferences: None,
            custom_attributes: None,
            ..customer
        },
    }
}

/// Returns the order of a list. The rules of the contract admit no other text.
pub(crate) fn order(text: &str) -> (OrderKey, Direction) {
    let key = match text.strip_suffix(" desc").unwrap_or(text) {
        "update_time" => OrderKey::UpdatedAt,
        "business_name" => OrderKey::SortName,
        _ => OrderKey::CreatedAt,
    };
    (key, Direction::of(text))
}
