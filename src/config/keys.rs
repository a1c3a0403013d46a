//! Settings of `keys`.

use std::time::Duration;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{DatabaseConfig, LogConfig};
use crate::identity::grants::{self, Grant};
use crate::pb::AccessScope;

/// The longest lifetime of a key: a key that lasts longer should be created as one that never expires.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The maximum number of characters of a key's name.
const MAX_NAME: usize = 128;

/// Settings of `keys`.
#[derive(Debug, Clone, Args)]
pub struct KeysConfig {
    /// The action.
    #[command(subcommand)]
    pub command: KeysCommand,
}

/// The actions on API keys. They work while the service runs.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Create a key. Its secret is printed on standard output, once, and its description on standard error.
    Create(CreateKey),
    /// List all keys, without their secrets.
    List(ListKeys),
    /// Revoke a key. Within seconds all replicas refuse it, and its open streams end.
    Revoke(RevokeKey),
}

/// A key to create.
#[derive(Debug, Clone, Args)]
pub struct CreateKey {
    /// Holder of the key.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: String,

    /// Tenants that it may be used for: UUIDs separated by commas, or `*` for all, future ones included.
    #[arg(long, value_name = "UUID,…", required = true, value_delimiter = ',', value_parser = tenant)]
    pub tenants: Vec<Grant>,

    /// What it may be used for: one or more of `read`, `write` and `admin`, none of which includes another.
    #[arg(long, value_name = "SCOPE,…", default_value = "read", value_delimiter = ',', value_parser = scope)]
    pub scopes: Vec<AccessScope>,

    /// How long it is valid, in seconds, minutes, hours or days: `90d`, `12h`.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = lifetime)]
    pub expires_in: Duration,

    /// The key never expires: it is valid until it is revoked.
    #[arg(long, conflicts_with = "expires_in")]
    pub never_expires: bool,

    /// Where it is stored.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// What the log contains, and its format.
    #[command(flatten)]
    pub log: LogConfig,
}

/// Settings of `keys list`.
#[derive(Debug, Clone, Args)]
pub struct ListKeys {
    /// Where the keys are stored.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// What the log contains, and its format.
    #[command(flatten)]
    pub log: LogConfig,
}

/// A key to revoke.
#[derive(Debug, Clone, Args)]
pub struct RevokeKey {
    /// Id of the key, as `keys list` shows it.
    pub id: Uuid,

    /// Where it is stored.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// What the log contains, and its format.
    #[command(flatten)]
    pub log: LogConfig,
}

impl KeysCommand {
    /// The database in which the keys are stored.
    pub fn database(&self) -> &DatabaseConfig {
        match self {
            Self::Create(config) => &config.database,
            Self::List(config) => &config.database,
            Self::Revoke(config) => &config.database,
        }
    }

    /// The log settings of the command.
    pub fn log(&self) -> &LogConfig {
        match self {
            Self::Create(config) => &config.log,
            Self::List(config) => &config.log,
            Self::Revoke(config) => &config.log,
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=MAX_NAME).contains(&text.chars().count()) && !text.contains(char::is_control);
    let wrong = format!("must have 1 to {MAX_NAME} characters, none of them a control character");
    if fits { Ok(text.to_owned()) } else { Err(wrong) }
}

fn tenant(word: &str) -> Result<Grant, String> {
    grants::tenant(word).ok_or_else(|| "must be the UUID of a tenant, or *".to_owned())
}

fn scope(word: &str) -> Result<AccessScope, String> {
    grants::scope(word).ok_or_else(|| "must be read, write or admin".to_owned())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number and s, m, h or d, as in 90d; ten years at most".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    let lifetime = number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)?;
    if lifetime.is_zero() || lifetime > LONGEST { Err(wrong()) } else { Ok(lifetime) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_and_a_unit() {
        assert_eq!(lifetime("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(lifetime("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(lifetime("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(lifetime("1s"), Ok(Duration::from_secs(1)));
        for bad in ["", "d", "0d", "-1d", "1.5h", "90", "90 d", "9ö", "3651d", "99999999999999999999s"] {
            assert!(lifetime(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_a_short_text() {
        assert!(name("Zoë's worker").is_ok() && name(&"é".repeat(MAX_NAME)).is_ok());
        for bad in ["", "a\nb", &"x".repeat(MAX_NAME + 1)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
