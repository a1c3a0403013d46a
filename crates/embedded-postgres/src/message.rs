//! The messages of errors: what is wrong, and what to do about it, in the program's own terms.

use crate::fault::{Fault, SUPPORTED};
use crate::options::{self, Options, Terms};

/// Returns the message of an error.
pub(crate) fn of(fault: &Fault, options: &Options) -> String {
    // After lines that a program printed, advice begins a line of its own.
    let between = match fault {
        Fault::Init { .. } | Fault::Start { .. } => "\n",
        _ => "; ",
    };
    [wrong(fault, &options.terms).as_str(), between, &one_of(&advice(fault, options))].concat()
}

/// What is wrong.
fn wrong(fault: &Fault, terms: &Terms) -> String {
    match fault {
        Fault::Name { what, name } => format!("{what} {name:?} cannot be used"),
        Fault::NoPostgres { tried } => format!("no usable PostgreSQL was found ({tried})"),
        Fault::BinDir { path, why } => {
            format!("{} {} cannot be used: {why}", terms.bin_dir, path.display())
        }
        Fault::WrongMajor { path, storage, tried } => format!(
            "the data in {} was made by PostgreSQL {storage}, of which no binaries were found ({tried})",
            path.display()
        ),
        Fault::Held { path, holder, .. } => {
            format!("{} is in use by the process {holder}", path.display())
        }
        Fault::Unreachable { path, blocked, account } => format!(
            "Postgres does not run as root and is run as `{account}`, which cannot pass through {} to reach {}",
            blocked.display(),
            path.display()
        ),
        Fault::NoAccount => {
            "Postgres does not run as root, and there is no account `postgres` or `nobody` to run it as"
                .to_owned()
        }
        Fault::NotWritable { path, .. } => {
            format!("the data directory {} cannot be written", path.display())
        }
        Fault::ForeignCluster { path } => {
            format!("{} is the data directory of some other Postgres", path.display())
        }
        Fault::Orphan { path, pid } => format!(
            "the process {pid}, left by an earlier run, still uses {} and does not stop",
            path.display()
        ),
        Fault::Init { path, step, output } => {
            format!("making a new database in {} failed at `{step}`; it said:\n{output}", path.display())
        }
        Fault::Start { why, log, tail } => {
            format!("Postgres did not start ({why}); the end of {}:\n{tail}", log.display())
        }
        Fault::Io { doing, path, .. } => format!("could not {doing} ({})", path.display()),
    }
}

/// What to do about it: one of these.
fn advice(fault: &Fault, Options { program, terms, .. }: &Options) -> Vec<String> {
    let (first, last) = (SUPPORTED.start(), SUPPORTED.end());
    let Terms { data_dir, bin_dir, server } = terms;
    let another_place = format!("choose another {data_dir}");
    let other_server = server.map(|server| format!("set {server}"));
    let elsewhere = |first: &str| {
        [first.to_owned(), another_place.clone()].into_iter().chain(other_server.clone()).collect()
    };
    match fault {
        Fault::Name { .. } => {
            vec!["use a letter and then letters, digits, `_` or `-`, at most 63 in all".to_owned()]
        }
        Fault::NoPostgres { .. } => [
            format!("do one of these: install PostgreSQL {first} to {last}"),
            "install npm or pip so that it can be downloaded".to_owned(),
        ]
        .into_iter()
        .chain(other_server.map(|set| format!("{set} to a running server")))
        .collect(),
        Fault::BinDir { .. } => vec![
            format!("name a directory that holds `postgres` and `initdb` of PostgreSQL {first} to {last}"),
            "leave the option out".to_owned(),
        ],
        Fault::WrongMajor { storage, .. } => vec![
            format!("install PostgreSQL {storage}"),
            format!("name its binaries with {bin_dir}"),
            another_place,
        ],
        Fault::Held { port, .. } => ["stop that process".to_owned(), another_place]
            .into_iter()
            .chain(other_server.map(|set| format!("{set} to share its server{}", place(*port))))
            .collect(),
        Fault::Unreachable { .. } => vec![
            format!(
                "choose a {data_dir} outside of closed directories, such as {} (for temporary data: another TMPDIR)",
                options::of_root(program).display()
            ),
            "start the service as an ordinary user".to_owned(),
        ],
        Fault::NoAccount => {
            ["start the service as an ordinary user".to_owned()].into_iter().chain(other_server).collect()
        }
        Fault::NotWritable { .. } => elsewhere("make it writable for this user"),
        Fault::ForeignCluster { .. } => [another_place]
            .into_iter()
            .chain(other_server.map(|set| format!("start that server and {set}")))
            .collect(),
        Fault::Orphan { pid, .. } => {
            vec![format!("end it (kill -QUIT {pid}) and start again"), another_place]
        }
        Fault::Init { .. } => elsewhere(
            "put that right (often a full disk, missing rights, or a user that is not in /etc/passwd)",
        ),
        Fault::Start { .. } => elsewhere("put that right"),
        Fault::Io { .. } => elsewhere("check the rights and the free space there"),
    }
}

/// The address appears only if the holder has a port already.
fn place(port: Option<u16>) -> String {
    port.map_or_else(String::new, |port| format!(" on 127.0.0.1:{port}"))
}

/// Joins alternatives: `a, b, or c`.
fn one_of(alternatives: &[String]) -> String {
    match alternatives {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{}, or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
