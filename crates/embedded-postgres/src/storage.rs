//! The storage directory: where it is, what it contains, and how one process holds it.
//!
//! ```text
//! <storage>/lock            held (flock) for the life of the handle; says who holds it
//! <storage>/password        the superuser's password, mode 0600
//! <storage>/pgdata          the Postgres data directory, complete or missing
//! <storage>/pgdata.new-*    an unfinished one, which a killed process may have left
//! <storage>/postgres.log    the log of this run; postgres.log.1 is that of the previous run
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::account::Account;
use crate::fault::Fault;

/// Only we and the account that runs Postgres may read the storage.
const PRIVATE: u32 = 0o600;
/// How long to wait for the lock: a killed process keeps it until the kernel has removed the process.
const PATIENCE: Duration = Duration::from_millis(200);
/// The time between two tries.
const POLL: Duration = Duration::from_millis(5);
/// Longer than any holder's note, so that a wrong file at this path is not read completely.
const NOTE_LIMIT: u64 = 200;

/// A storage directory that this process holds.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    account: Account,
    ephemeral: bool,
    /// Releasing the lock lets other processes in, so it is released last.
    lock: File,
}

impl Place {
    /// Makes a directory that stays, if need be, and holds it.
    pub(crate) fn open(dir: &Path) -> Result<Self, Fault> {
        let dir = std::path::absolute(dir).map_err(Fault::storage(dir))?;
        if dir.join("PG_VERSION").exists() {
            return Err(Fault::ForeignCluster { path: dir });
        }
        let account = Account::choose(&dir.join("pgdata"))?;
        make_dirs(&dir, account.outer_mode()).map_err(Fault::storage(&dir))?;
        Self::hold_patiently(&dir, &account)
    }

    /// Takes the lock, and gives a dying holder time to end.
    fn hold_patiently(dir: &Path, account: &Account) -> Result<Self, Fault> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::hold(dir, account.clone(), false) {
                Err(Fault::Held { .. }) if Instant::now() < deadline => thread::sleep(POLL),
                done => return done,
            }
        }
    }

    /// Takes the lock of an existing directory.
    pub(crate) fn hold(dir: &Path, account: Account, ephemeral: bool) -> Result<Self, Fault> {
        // A running Postgres shows its real directory; that is how a leftover process is recognized.
        let root = fs::canonicalize(dir).map_err(Fault::storage(dir))?;
        account.check_reach(&root)?;
        let path = root.join("lock");
        let mut lock = open_private(&path, OpenOptions::new().read(true).write(true).create(true))
            .map_err(Fault::storage(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(root, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(Fault::storage(&path)(error)),
        }
        let place = Self { root, account, ephemeral, lock };
        place.note(None)?;
        Ok(place)
    }

    /// Notes in the lock file who holds the directory, and the port once there is one.
    pub(crate) fn note(&self, port: Option<u16>) -> Result<(), Fault> {
        let port = port.map_or_else(String::new, |port| format!("port {port}\n"));
        let note = format!("pid {}\n{port}", std::process::id());
        let mut lock = &self.lock;
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(note.as_bytes()))
            .map_err(Fault::storage(&self.root.join("lock")))
    }

    /// Whether the lock is still the one at its path: a sweeper may have removed it before we held it.
    pub(crate) fn is_in_place(&self) -> bool {
        let (Ok(ours), Ok(there)) = (self.lock.metadata(), fs::symlink_metadata(self.root.join("lock")))
        else {
            return false;
        };
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    pub(crate) fn pgdata(&self) -> PathBuf {
        self.root.join("pgdata")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        password_file(&self.root)
    }

    /// Opens a new log. The previous log is kept, since it may say why the last run ended.
    pub(crate) fn new_log(&self) -> Result<File, Fault> {
        let log = self.log();
        // At the first start there is no log to rename.
        let _ = fs::rename(&log, self.root.join("postgres.log.1"));
        open_private(&log, OpenOptions::new().append(true).create(true)).map_err(Fault::storage(&log))
    }

    /// The stored password, or `None` if there is none.
    pub(crate) fn read_password(&self) -> Result<Option<String>, Fault> {
        read_password(&self.root)
    }

    /// Creates a password and stores it so that only we and the account of `initdb` can read it.
    pub(crate) fn new_password(&self) -> Result<String, Fault> {
        let path = self.password_file();
        // 244 random bits from the system's generator, in letters that need no escaping in a URL.
        let (one, two) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let password = format!("{}{}", one.simple(), two.simple());
        let _ = fs::remove_file(&path);
        open_private(&path, OpenOptions::new().write(true).create_new(true))
            .and_then(|mut file| {
                file.write_all(password.as_bytes())?;
                file.sync_all()?;
                self.account.own(&path, PRIVATE)
            })
            .map_err(Fault::io("keep the password", &path))?;
        Ok(password)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Closing is not enough: a child process that another thread is starting has a copy of the file until its
        // exec. If unlocking fails, the end of that copy releases the lock a moment later.
        let _ = self.lock.unlock();
    }
}

fn password_file(root: &Path) -> PathBuf {
    root.join("password")
}

/// The password stored in a storage directory, whichever process holds it; `None` if there is none.
pub(crate) fn read_password(root: &Path) -> Result<Option<String>, Fault> {
    let path = password_file(root);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::io("read the password", &path)(error)),
    }
}

/// Opens one of our files: private, and never through a symbolic link, which another user may have put there.
fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.mode(PRIVATE).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)
}

/// Creates the missing directories, each with this mode regardless of the umask.
fn make_dirs(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(parent, mode)?;
    }
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(mode)),
        // Another process was faster; it creates the directory in the same way.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the error that names the holder, as its note says.
fn held(path: PathBuf, lock: &mut File) -> Fault {
    let mut note = String::new();
    // If the note cannot be read, the holder is unknown, and the error is returned anyway.
    let _ = lock.take(NOTE_LIMIT).read_to_string(&mut note);
    let value = |key: &str| note.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    Fault::Held {
        path,
        holder: value("pid").unwrap_or("(unknown)").to_owned(),
        port: value("port").and_then(|port| port.parse().ok()),
    }
}
