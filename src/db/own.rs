//! The service's own Postgres, for when no `DATABASE_URL` is given.

use std::path::PathBuf;

use embedded_postgres::{Options, Storage, Terms};

/// Part of the paths of its data and of downloaded binaries.
const PROGRAM: &str = "crm-backend";

/// The superuser and owner of everything. The service itself switches to a role without rights.
const USER: &str = "crm";

/// The database that the service uses.
const DATABASE: &str = "crm";

/// The settings of `config` that its errors advise to change.
const TERMS: Terms =
    Terms { data_dir: "--data-dir", bin_dir: "--postgres-bin-dir", server: Some("DATABASE_URL") };

/// Returns its options, with the defaults of Postgres for the rest.
pub fn options(storage: Storage) -> Options {
    Options {
        user: USER.to_owned(),
        database: DATABASE.to_owned(),
        terms: TERMS,
        ..Options::new(PROGRAM, storage)
    }
}

/// The default of `--data-dir`: `/var/lib/crm-backend` for root, and a directory in the user's home for others.
pub fn default_data_dir() -> PathBuf {
    embedded_postgres::default_data_dir(PROGRAM)
}
