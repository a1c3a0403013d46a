//! Runs the programs of a package client, and unpacks what they fetched.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::run;

/// A program and its first arguments.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// The same arguments for each name of the Python interpreter.
pub(crate) fn python(arguments: &str) -> impl Iterator<Item = Vec<String>> + use<> {
    let arguments = words(arguments);
    ["python3", "python"].into_iter().map(move |program| {
        let mut line = vec![program.to_owned()];
        line.extend_from_slice(&arguments);
        line
    })
}

/// Runs the first of these programs that exists and succeeds. The error is that of the last program that exists.
pub(crate) fn any_of(
    programs: impl IntoIterator<Item = Vec<String>>,
    complete: impl Fn(&mut Command),
) -> io::Result<()> {
    let mut absent = Vec::new();
    let mut failed = None;
    for line in programs {
        let [program, arguments @ ..] = line.as_slice() else {
            continue;
        };
        let mut command = Command::new(program);
        command.args(arguments);
        complete(&mut command);
        match run::run(command, None, run::FETCH_LIMIT) {
            Ok(done) if done.ok => return Ok(()),
            Ok(done) => failed = Some(format!("{program} failed: {}", done.tail())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => absent.push(program.clone()),
            Err(error) => failed = Some(format!("{program} does not run: {error}")),
        }
    }
    let why = failed.unwrap_or_else(|| format!("there is no {}", absent.join(", no ")));
    Err(io::Error::other(why))
}

/// Unpacks with the system's tar. Option `o` makes the files ours, regardless of the owner in the archive.
pub(crate) fn untar(archive: &Path, into: &Path) -> io::Result<()> {
    any_of([words("tar -xozf")], |tar| {
        tar.arg(archive).arg("-C").arg(into);
    })
}

/// Creates the symlinks that an npm package cannot contain and lists in a file instead.
pub(crate) fn make_links(package: &Path) -> io::Result<()> {
    let list = fs::read(package.join("native").join("pg-symlinks.json"))?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    for entry in list.as_array().into_iter().flatten() {
        let (Some(source), Some(target)) = (entry["source"].as_str(), entry["target"].as_str()) else {
            continue;
        };
        let (source, target) = (Path::new(source), Path::new(target));
        // Each link is beside its target, so that the whole tree can be moved.
        if let (Some(file), true) = (source.file_name(), source.parent() == target.parent())
            && target.components().all(|part| matches!(part, Component::Normal(_)))
        {
            symlink(file, package.join(target))?;
        }
    }
    Ok(())
}

/// Returns the only entry of a directory.
pub(crate) fn only_entry(dir: &Path) -> io::Result<PathBuf> {
    let entries: Vec<_> = fs::read_dir(dir)?.collect::<io::Result<_>>()?;
    match entries.as_slice() {
        [entry] => Ok(entry.path()),
        _ => Err(io::Error::other(format!("{} entries instead of one", entries.len()))),
    }
}

/// The archive inside the unpacked wheel.
pub(crate) fn archive_in(dir: &Path) -> io::Result<PathBuf> {
    let mut entries = fs::read_dir(dir)?.filter_map(Result::ok).map(|entry| entry.path());
    entries
        .find(|path| path.extension().is_some_and(|ending| ending == "gz"))
        .ok_or_else(|| io::Error::other("the wheel holds no archive"))
}

/// Lets every account read a tree, regardless of the umask: what root downloads is run by another account.
pub(crate) fn open_to_all(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(());
    }
    let executable = found.is_dir() || found.permissions().mode() & 0o100 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            open_to_all(&entry?.path())?;
        }
    }
    Ok(())
}
