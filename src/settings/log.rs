//! Settings of the log.

use clap::{Args, ValueEnum};

/// What the log contains, and its format.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub struct LogConfig {
    /// What to log, e.g. `warn`, `info,crm_backend::calls=off` (without a line per call) or `info,crm_backend=debug`.
    #[arg(long, env = "CRM_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,

    /// One line of text, or one JSON object, per event; `auto` is text on a terminal and JSON elsewhere.
    #[arg(long, env = "CRM_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// The format of a log event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text, for people.
    Text,
    /// JSON, for log collectors.
    Json,
}
