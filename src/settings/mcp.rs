//! Settings of the door for AI agents.

use clap::Args;

/// How AI agents reach the tools at `/mcp`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Agents (MCP)")]
pub struct McpSettings {
    /// Host names under which agents reach `/mcp`, separated by commas; `*` for any.
    ///
    /// By default any name where callers must prove who they are. Where they need not, only names of this machine: a
    /// web page could otherwise reach the service under a name of its own (DNS rebinding).
    #[arg(long, env = "CRM_MCP_HOSTS", value_delimiter = ',', value_name = "HOST,…")]
    pub mcp_hosts: Vec<String>,

    /// Origins of web pages whose scripts may use `/mcp`, as in `https://app.example.com`. Pages of this machine may
    /// by default.
    #[arg(long, env = "CRM_MCP_ORIGINS", value_delimiter = ',', value_name = "ORIGIN,…")]
    pub mcp_origins: Vec<String>,

    /// URL of `/mcp` as agents reach it, for the metadata that tells them where tokens come from. By default it is made
    /// of the `Host` of their request.
    #[arg(long, env = "CRM_MCP_URL", value_name = "URL")]
    pub mcp_url: Option<String>,
}
