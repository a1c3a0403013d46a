//! The log. It contains ids, methods, codes and milliseconds, but never names, texts, e-mail addresses or tokens: at
//! no level, and from no library.

use std::any::Any;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogConfig, LogFormat};

/// Libraries that log values of clients, with the most of them that any filter shows. The driver of Postgres logs
/// statements with their values at `debug`, and notices that may quote values at `info`. That of MCP logs whole
/// messages at `trace`, and headers in warnings.
const SILENCED: [(&str, Level); 2] = [("tokio_postgres", Level::WARN), ("rmcp", Level::ERROR)];

/// Starts the log, on standard error.
///
/// # Errors
///
/// What is wrong with the filter, in a sentence.
pub fn start(config: &LogConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| format!("--log {:?} is not a filter: {error}. Try --log info.", config.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let harmless = filter_fn(is_harmless).with_max_level_hint(LevelFilter::TRACE);
    let is_terminal = io::stderr().is_terminal();
    match config.log_format {
        LogFormat::Text => log.with_target(false).with_ansi(is_terminal).finish().with(harmless).init(),
        LogFormat::Auto if is_terminal => log.with_target(false).finish().with(harmless).init(),
        LogFormat::Auto | LogFormat::Json => log.json().flatten_event(true).finish().with(harmless).init(),
    }
    panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// Whether an event cannot contain a client's value.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    SILENCED.iter().all(|(library, most)| {
        let rest = metadata.target().strip_prefix(library);
        let silenced = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        !silenced || metadata.level() <= most
    })
}

/// Logs where a panic happened. The panic's message may contain a client's text, for example if a slice splits a
/// character.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(place, words = fixed_words(panic.payload()), "a panic");
}

/// Returns the message of a panic if it is a constant of the code.
fn fixed_words(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fixed_words_of_a_panic_are_told() {
        let caught = |panic: fn()| panic::catch_unwind(panic).expect_err("a panic");
        assert_eq!(fixed_words(&*caught(|| panic!("of the code"))), Some("of the code"));
        let made = caught(|| panic!("made of {}", String::from("Zoë").len()));
        assert_eq!(fixed_words(&*made), None);
    }
}
