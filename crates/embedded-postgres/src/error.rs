//! What a program is told: what is wrong, and what to do about it.

use std::error;
use std::fmt;

use crate::fault::Fault;
use crate::message;
use crate::options::Options;

/// Why the embedded Postgres could not be started. The message says what is wrong and what to do about it, in the
/// program's own [`Terms`](crate::Terms).
#[derive(Debug)]
pub struct Error {
    fault: Fault,
    message: String,
}

impl Error {
    pub(crate) fn new(fault: Fault, options: &Options) -> Self {
        Self { message: message::of(&fault, options), fault }
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.fault {
            Fault::NotWritable { source, .. } | Fault::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
