//! Settings of `mcp`.

use std::path::PathBuf;

use clap::Args;

use super::LogConfig;

/// Settings of `mcp`.
#[derive(Debug, Clone, Args)]
pub struct McpConfig {
    /// URL of the server: https, or http for one on this machine or in a network that only trusted programs use.
    #[arg(long, env = "CRM_URL", default_value = "http://127.0.0.1:50051", value_name = "URL")]
    pub url: String,

    /// Tenant of all calls. Not needed with a credential for one tenant.
    #[arg(long, env = "CRM_TENANT", value_name = "UUID")]
    pub tenant: Option<String>,

    /// File with an API key, or a token. Not needed where the server asks for none.
    #[arg(long, env = "CRM_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// PEM file with the certificates to trust for the server; otherwise those of the system.
    #[arg(long, env = "CRM_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// What the log contains, and its format. It is on standard error.
    #[command(flatten)]
    pub log: LogConfig,
}
