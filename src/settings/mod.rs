//! Settings of the rooms that stand on nothing else. [`crate::config`] makes a command line of all settings.

mod limits;
mod log;
mod mcp;
mod tls;
mod traces;
mod web;

use std::time::Duration;

pub use limits::{CallLimits, ConnectionLimits};
pub use log::{LogConfig, LogFormat};
pub use mcp::McpSettings;
pub use tls::{ClientAuth, TlsConfig};
pub use traces::TracesConfig;
pub use web::{ANY_ORIGIN, WebSettings};

/// Parses a number of milliseconds, 1 or more.
pub(crate) fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number of milliseconds, 1 or more".to_owned()),
        Ok(milliseconds) => Ok(Duration::from_millis(milliseconds)),
    }
}
