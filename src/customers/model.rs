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
use crate::pb::{self, ContactChannel, CustomerStatus};
use crate::rpc::etag::Etag;

/// Declares what a column of JSON holds: the same fields as the message of this name.
macro_rules! twin {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)+ }

        impl From<$name> for pb::$name {
            fn from($name { $($field),+ }: $name) -> Self {
                Self { $($field),+ }
            }
        }

        impl From<pb::$name> for $name {
            fn from(pb::$name { $($field),+ }: pb::$name) -> Self {
                Self { $($field),+ }
            }
        }
    };
}

/// Declares a row, and `columns!($table)`: its columns in its order.
macro_rules! row {
    ($dollar:tt $(#[$meta:meta])* pub(crate) struct $name:ident { $(pub(crate) $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        pub(crate) struct $name { $(pub(crate) $field: $type,)+ }

        macro_rules! columns {
            ($dollar table:ident) => { ($($dollar table::$field,)+) };
        }
        pub(crate) use columns;
    };
}

row! {
    $
    /// A row of `customers`.
    #[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable, AsChangeset)]
    #[cfg_attr(test, derive(Default))]
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

twin! {
    /// The column `business_context`.
    BusinessContext {
        description: String,
        products_and_services: Vec<String>,
        target_audience: String,
        value_proposition: String,
        competitors: Vec<String>,
        goals: Vec<String>,
        challenges: Vec<String>,
    }
}

twin! {
    /// The column `brand_voice`.
    BrandVoice {
        tone: String,
        style: String,
        vocabulary: Vec<String>,
        dos: Vec<String>,
        donts: Vec<String>,
        sample_texts: Vec<String>,
    }
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
