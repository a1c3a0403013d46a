//! The account that Postgres runs as: our own, or an unprivileged one if we are root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::fault::Fault;

/// The accounts that root tries in this order: the one that packages create for Postgres, then one that every system
/// has.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The account that `initdb` and `postgres` run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// We are not root: Postgres runs as us.
    Own,
    /// We are root, and Postgres refuses to run as root.
    Other {
        /// For messages.
        name: String,
        /// The user that the processes get.
        uid: u32,
        /// The group that the processes get.
        gid: u32,
    },
}

impl Account {
    /// Returns the account for a new data directory, or the owner of an existing one.
    pub(crate) fn choose(pgdata: &Path) -> Result<Self, Fault> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        // Postgres requires that it owns its directory, so storage that an ordinary user created is served as that
        // user.
        if let Ok(found) = fs::metadata(pgdata)
            && found.uid() != 0
        {
            return Ok(Self::Other {
                name: format!("uid {}", found.uid()),
                uid: found.uid(),
                gid: found.gid(),
            });
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        unprivileged(&passwd).ok_or(Fault::NoAccount)
    }

    /// Makes the command run as this account.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            // With a uid and no groups, the standard library also drops root's supplementary groups.
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives a file or directory of ours to this account, with this mode.
    pub(crate) fn own(&self, path: &Path, mode: u32) -> std::io::Result<()> {
        if let Self::Other { uid, gid, .. } = self {
            chown(path, Some(*uid), Some(*gid))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    /// The mode of directories around the data. Root's directories must let the account through; ours let no other
    /// account in.
    pub(crate) fn outer_mode(&self) -> u32 {
        match self {
            Self::Own => 0o700,
            Self::Other { .. } => 0o755,
        }
    }

    /// Sets [`Account::outer_mode`] on one of our directories, regardless of the umask.
    pub(crate) fn own_outer(&self, dir: &Path) -> std::io::Result<()> {
        fs::set_permissions(dir, fs::Permissions::from_mode(self.outer_mode()))
    }

    /// Fails if a directory from the root down to `dir` is closed to this account.
    pub(crate) fn check_reach(&self, dir: &Path) -> Result<(), Fault> {
        let Self::Other { name, uid, gid } = self else {
            return Ok(());
        };
        let blocked = dir.ancestors().filter(|ancestor| {
            fs::metadata(ancestor)
                .is_ok_and(|found| !may_pass(found.mode(), found.uid() == *uid, found.gid() == *gid))
        });
        // The message names the outermost closed directory.
        match blocked.last() {
            None => Ok(()),
            Some(blocked) => Err(Fault::Unreachable {
                path: dir.to_owned(),
                blocked: blocked.to_owned(),
                account: name.clone(),
            }),
        }
    }
}

/// Whether the mode lets an account pass: the first class it belongs to decides, as in the kernel.
fn may_pass(mode: u32, owner: bool, group: bool) -> bool {
    let bit = match (owner, group) {
        (true, _) => 0o100,
        (false, true) => 0o010,
        (false, false) => 0o001,
    };
    mode & bit != 0
}

/// The first of [`UNPRIVILEGED`] in the text of a passwd file.
fn unprivileged(passwd: &str) -> Option<Account> {
    UNPRIVILEGED.iter().find_map(|wanted| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| name == wanted)?;
            let uid = id(fields.nth(1)?)?;
            let gid = id(fields.next()?)?;
            (uid != 0).then(|| Account::Other { name: name.to_owned(), uid, gid })
        })
    })
}

/// Parses an id of a passwd file. macOS writes the id of `nobody` as -2.
fn id(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(name: &str, uid: u32, gid: u32) -> Account {
        Account::Other { name: name.to_owned(), uid, gid }
    }

    #[test]
    fn postgres_is_preferred_and_nobody_serves() {
        let both = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/x\npostgres:x:101:104::/:/x\n";
        assert_eq!(unprivileged(both), Some(other("postgres", 101, 104)));
        let macos = "nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n";
        assert_eq!(unprivileged(macos), Some(other("nobody", 4_294_967_294, 4_294_967_294)));
        assert_eq!(unprivileged("postgres:x:0:0::/:/x\nroot:x:0:0::/:/x"), None);
        assert_eq!(unprivileged("postgres\n\nnobody:x"), None);
    }

    #[test]
    fn the_first_class_decides() {
        assert!(may_pass(0o711, false, false));
        assert!(!may_pass(0o700, false, false));
        assert!(!may_pass(0o701, false, true));
        assert!(!may_pass(0o077, true, true));
    }
}
