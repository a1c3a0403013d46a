//! The handle of a running Postgres.

use std::fmt;
use std::path::Path;

use crate::error::Error;
use crate::fault::Fault;
use crate::find::{self, Installation};
use crate::options::{Options, Storage};
use crate::server::Server;
use crate::storage::{self, Place};
use crate::{cluster, ephemeral, orphan};

/// A running Postgres that belongs to this process; dropping it stops it, which blocks until it has ended.
pub struct Embedded {
    // Dropped first: the server stops before the place, and with it the lock, is released.
    server: Server,
    binaries: Installation,
    pub(crate) password: String,
    url: String,
    user: String,
    place: Place,
}

impl fmt::Debug for Embedded {
    // Without the password, and so without the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("server", &self.server)
            .field("binaries", &self.binaries)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Starts Postgres, creates what is missing, and returns once it accepts connections.
    ///
    /// # Errors
    ///
    /// Every [`Error`] says what is wrong and what to do about it.
    pub fn start(options: &Options) -> Result<Self, Error> {
        Self::try_start(options).map_err(|fault| Error::new(fault, options))
    }

    fn try_start(options: &Options) -> Result<Self, Fault> {
        options.check()?;
        let place = match &options.storage {
            Storage::Ephemeral(parent) => ephemeral::make(parent, options)?,
            Storage::Persistent(dir) => Place::open(dir)?,
        };
        let started = Self::start_in(&place, options);
        if started.is_err() && place.is_ephemeral() {
            ephemeral::remove(place.root());
        }
        let (server, binaries, password) = started?;
        let url = url((&options.user, &password), server.port, &options.database);
        Ok(Self { server, binaries, password, url, user: options.user.clone(), place })
    }

    fn start_in(place: &Place, options: &Options) -> Result<(Server, Installation, String), Fault> {
        cluster::sweep(place.root());
        let major = cluster::major(place)?;
        let binaries = find::find(place.account(), options, major)
            .map_err(|refusal| refusal.into_fault(options, place.root(), major))?;
        let password = if major.is_some() {
            orphan::clear(&place.pgdata(), orphan::Haste::Keep)?;
            match place.read_password()? {
                Some(password) => password,
                None => cluster::reset_password(place, &binaries, options)?,
            }
        } else {
            cluster::make(place, &binaries, options)?
        };
        let mut server = Server::start(place, &binaries, options)?;
        if let Err(error) = place.note(Some(server.port)) {
            server.stop(false);
            return Err(error);
        }
        tracing::info!(
            version = %binaries.version,
            bin_dir = %binaries.bin_dir.display(),
            data_dir = %place.root().display(),
            port = server.port,
            "the embedded Postgres runs"
        );
        Ok((server, binaries, password))
    }

    /// The URL of [`Options::database`]. It has the superuser's password in it, so it must not be logged.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of another database of this server; its name must need no escaping in a URL.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        url((&self.user, &self.password), self.server.port, database)
    }

    /// The version of Postgres, such as `18.4`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// The directory of its binaries.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.binaries.bin_dir
    }

    /// The storage directory, as in [`Storage`]; Postgres' own data directory is `pgdata` in it.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.place.root()
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The process id of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Stops Postgres and waits for its end; removes temporary storage. It does the same as dropping it, but
    /// explicitly.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.server.stop(self.place.is_ephemeral());
        if self.place.is_ephemeral() {
            ephemeral::remove(self.place.root());
        }
    }
}

/// Returns the URL of [`Options::database`] on the server that another process runs on a storage directory; see
/// [`Fault::Held`].
///
/// # Errors
///
/// If the password cannot be read, for example by a user other than the one who runs the server.
pub fn url_of_held(options: &Options, path: &Path, port: u16) -> Result<String, Error> {
    let password = storage::read_password(path).map_err(|fault| Error::new(fault, options))?;
    Ok(url((&options.user, &password.unwrap_or_default()), port, &options.database))
}

fn url((user, password): (&str, &str), port: u16, database: &str) -> String {
    format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
}
