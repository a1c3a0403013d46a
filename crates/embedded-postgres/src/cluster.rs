//! Creates the Postgres data directory: completely or not at all.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use crate::fault::Fault;
use crate::find::Installation;
use crate::options::{Durability, Options, POSTGRES};
use crate::run::{self, Done};
use crate::storage::Place;

/// The name of an unfinished data directory, before its random part.
const UNFINISHED: &str = "pgdata.new-";
/// From this version on Postgres has its own Unicode locale, which is the same on every system.
const FIRST_WITH_BUILTIN_LOCALE: u32 = 17;

/// Returns the major version that made the storage, or `None` if there is no storage yet.
pub(crate) fn major(place: &Place) -> Result<Option<u32>, Fault> {
    let path = place.pgdata().join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::storage(&path)(error)),
    }
}

/// Creates the data directory under another name and renames it. Returns the password.
pub(crate) fn make(place: &Place, binaries: &Installation, options: &Options) -> Result<String, Fault> {
    let password = place.new_password()?;
    let new = place.root().join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple()));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&new)
        .and_then(|()| place.account().own(&new, 0o700))
        .map_err(Fault::storage(&new))?;
    initdb(place, binaries, &new, options)?;
    // Postgres makes one of this name itself.
    if options.database != POSTGRES {
        let statement = format!("CREATE DATABASE \"{}\"", options.database);
        single(place, binaries, &new, options.durability, &statement)?;
    }
    fs::rename(&new, place.pgdata())
        .and_then(|()| File::open(place.root())?.sync_all())
        .map_err(Fault::io("put the new database in its place", &new))?;
    Ok(password)
}

/// Gives the superuser a new password if the password file was lost.
pub(crate) fn reset_password(
    place: &Place,
    binaries: &Installation,
    options: &Options,
) -> Result<String, Fault> {
    let password = place.new_password()?;
    let statement = format!("ALTER ROLE \"{}\" PASSWORD '{password}'", options.user);
    single(place, binaries, &place.pgdata(), options.durability, &statement).inspect_err(|_| {
        // A password that Postgres does not know must not be used as the right one next time.
        let _ = fs::remove_file(place.password_file());
    })?;
    Ok(password)
}

/// Runs `initdb` with the best locale that is available.
fn initdb(place: &Place, binaries: &Installation, dir: &Path, options: &Options) -> Result<(), Fault> {
    // Text is ordered by bytes everywhere, as indexes of prefixes need it. Letters and lower case
    // follow Unicode if the system or Postgres supports it.
    let locales: &[&[&str]] = if binaries.major >= FIRST_WITH_BUILTIN_LOCALE {
        &[&["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    } else {
        &[&["--lc-ctype=C.UTF-8"], &[]]
    };
    let mut last = None;
    for locale in locales {
        let mut command = helper(place, binaries, "initdb");
        command.arg("-D").arg(dir);
        command.args(["--username", &options.user, "--auth=scram-sha-256", "--encoding=UTF8"]);
        command.args(["--locale=C", "--no-instructions"]).args(*locale);
        let mut pwfile = std::ffi::OsString::from("--pwfile=");
        pwfile.push(place.password_file());
        command.arg(pwfile);
        if options.durability == Durability::Off {
            command.arg("--no-sync");
        }
        let done = finish(place, "initdb", command, None)?;
        if done.ok {
            return Ok(());
        }
        last = Some(done);
    }
    Err(failed(place, "initdb", last))
}

/// Runs one statement without a server, so that no client library is needed. Returns its output.
pub(crate) fn single(
    place: &Place,
    binaries: &Installation,
    dir: &Path,
    durability: Durability,
    statement: &str,
) -> Result<String, Fault> {
    let mut command = helper(place, binaries, "postgres");
    command.arg("--single").arg("-D").arg(dir);
    // Without this an error is only printed, and the exit is a success.
    command.args(["-c", "exit_on_error=on"]);
    if durability == Durability::Off {
        command.args(["-c", "fsync=off"]);
    }
    command.arg("template1");
    let done = finish(place, "postgres --single", command, Some(statement))?;
    if done.ok { Ok(done.output) } else { Err(failed(place, "postgres --single", Some(done))) }
}

/// Returns a command for a program of the installation, as the account that owns the data, in a
/// plain environment.
pub(crate) fn helper(place: &Place, binaries: &Installation, program: &str) -> Command {
    let mut command = Command::new(binaries.bin_dir.join(program));
    place.account().apply(&mut command);
    // Messages are read by this crate, and finding a time zone costs a tenth of a second.
    command.env("LC_ALL", "C").env("TZ", "UTC");
    command.env_remove("PGDATA").env_remove("PGPORT");
    // Our own working directory may be closed to that account.
    command.current_dir(place.root());
    command
}

fn finish(place: &Place, step: &'static str, command: Command, input: Option<&str>) -> Result<Done, Fault> {
    run::run(command, input, run::INIT_LIMIT).map_err(|error| Fault::Init {
        path: place.root().to_owned(),
        step,
        output: error.to_string(),
    })
}

fn failed(place: &Place, step: &'static str, done: Option<Done>) -> Fault {
    Fault::Init {
        path: place.root().to_owned(),
        step,
        output: done.map_or_else(String::new, |done| done.tail()),
    }
}

/// Removes unfinished directories of runs that were killed. The caller holds the lock, so no other
/// run is creating one.
pub(crate) fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // A dying helper may still write to it; the next start sweeps again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
