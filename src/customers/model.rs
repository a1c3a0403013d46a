//! Customers as plain values.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::db::json::Json;
use crate::db::schema::customers;
use crate::db::texts::Texts;
use crate::db::words::Text;
use crate::pb::{ContactChannel, CustomerStatus};
use crate::rpc::etag::Etag;

/// A row of `customers`.
#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = customers, check_for_backend(Pg), treat_none_as_null = true)]
pub(crate) struct Customer {
    pub(crate) id: Uuid,
    pub(crate) business_name: String,
    pub(crate) sort_name: String,
    pub(crate) slug: String,
    pub(crate) contact_name: String,
    pub(crate) email: String,
    pub(crate) phone: String,
    pub(crate) phone_e164: String,
    pub(crate) website: String,
    pub(crate) address: Json<Address>,
    pub(crate) industry_category: String,
    pub(crate) size: String,
    pub(crate) status: Text<CustomerStatus>,
    pub(crate) source: String,
    pub(crate) owner: String,
    pub(crate) tags: Texts,
    pub(crate) external_ids: Json<Vec<ExternalId>>,
    pub(crate) business_context: Json<BusinessContext>,
    pub(crate) brand_voice: Json<BrandVoice>,
    pub(crate) content_preferences: Json<ContentPreferences>,
    pub(crate) custom_attributes: serde_json::Value,
    pub(crate) deleted_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    pub(crate) revision: i64,
}

impl Customer {
    /// Returns the etag of its present state.
    pub(crate) fn etag(&self) -> Etag {
        Etag::of(self.id, self.revision, self.updated_at)
    }
}

/// An item of the column `external_ids`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ExternalId {
    pub(crate) source: String,
    pub(crate) id: String,
}

/// The column `address`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Address {
    pub(crate) address: String,
    pub(crate) city: String,
    pub(crate) region: String,
    pub(crate) postal_code: String,
    pub(crate) country_code: String,
}

/// The column `business_context`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BusinessContext {
    pub(crate) description: String,
    pub(crate) products_and_services: Vec<String>,
    pub(crate) target_audience: String,
    pub(crate) value_proposition: String,
    pub(crate) competitors: Vec<String>,
    pub(crate) goals: Vec<String>,
    pub(crate) challenges: Vec<String>,
}

/// The column `brand_voice`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BrandVoice {
    pub(crate) tone: String,
    pub(crate) style: String,
    pub(crate) vocabulary: Vec<String>,
    pub(crate) dos: Vec<String>,
    pub(crate) donts: Vec<String>,
    pub(crate) sample_texts: Vec<String>,
}

/// The column `content_preferences`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ContentPreferences {
    pub(crate) topics: Vec<String>,
    pub(crate) formats: Vec<String>,
    pub(crate) preferred_channels: Vec<Text<ContactChannel>>,
    pub(crate) languages: Vec<String>,
    pub(crate) frequency: String,
    pub(crate) avoid: Vec<String>,
}
