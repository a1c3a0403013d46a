//! Arrows between modules point one way, from later floors of the house to earlier ones, and no files of a folder, nor
//! of another crate, go round in a circle. docs/architecture has the picture. The arrows between crates are held by the
//! compiler.
#![expect(clippy::expect_used, reason = "tests say what they expect by failing")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree};

/// The modules of the crate from the ground up: each takes from those before it, and from no other.
const FLOORS: [&str; 37] = [
    // What is set, and values.
    "numbers",
    "settings",
    "telemetry",
    "times",
    "tokens",
    "metrics",
    "traces",
    // Who asks, and what goes wrong.
    "error",
    "identity",
    "connection",
    // What is stored, of any noun.
    "db",
    "audit",
    "idempotency",
    "live",
    "auth",
    // What every call shares.
    "rpc",
    // The nouns.
    "audit_events",
    "customers",
    "conversations",
    "questions",
    "faqs",
    "campaigns",
    "engagement",
    // What is made of several nouns.
    "context",
    "dashboard",
    "reindex",
    // Ways in beside gRPC.
    "mcp",
    "web",
    // The process.
    "health",
    "reflection",
    "config",
    "server",
    "startup",
    // The crate, and what only tests have.
    "fuzzing",
    "reasons",
    "lib",
    "main",
];

/// A module by its path: `["campaigns", "events", "rules"]`.
type Module = Vec<String>;

/// The sources of the service.
const SERVICE: &str = "src";

/// The sources of all crates that have no floors, since they are small.
const OTHERS: [&str; 5] = [
    "crates/contract/src",
    "crates/contract-build/src",
    "crates/embedded-postgres/src",
    "crates/testkit/src",
    "crates/token-counter/src",
];

/// The modules of these sources that each module takes from, without what only tests take.
fn arrows(sources: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
    let mut files = Vec::new();
    list(&root, &mut files);
    let named = files.into_iter().map(|file| (module(file.strip_prefix(&root).expect("inside")), file));
    let files: BTreeMap<Module, PathBuf> =
        named.filter(|(module, _)| !module.iter().any(|part| part == "tests" || part == "fuzz")).collect();
    let known: BTreeSet<Module> = files.keys().cloned().collect();
    let taken = files.iter().map(|(module, file)| {
        let text = fs::read_to_string(file).expect("a file");
        let mut paths = Paths { module, found: BTreeSet::new() };
        paths.visit_file(&syn::parse_file(&text).expect("Rust"));
        let modules = paths.found.iter().filter_map(|path| of(path, &known));
        (module.clone(), modules.filter(|other| other != module).collect())
    });
    taken.collect()
}

/// All files of a folder with Rust in them.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The module of a file.
fn module(file: &Path) -> Module {
    let parts = file.with_extension("");
    let mut parts: Module = parts.iter().map(|part| part.to_str().expect("letters").to_owned()).collect();
    if parts.last().is_some_and(|part| part == "mod") {
        parts.pop();
    }
    parts
}

/// The module that has the item with this path; `None` for an item of the crate's root.
fn of(path: &[String], known: &BTreeSet<Module>) -> Option<Module> {
    (1..=path.len()).rev().map(|length| path[..length].to_vec()).find(|prefix| known.contains(prefix))
}

/// Collects the paths of the crate in a file, but for those in its tests.
struct Paths<'m> {
    module: &'m Module,
    found: BTreeSet<Vec<String>>,
}

impl Paths<'_> {
    /// Notes a path, as it is written in the file.
    fn note(&mut self, path: &[String]) {
        let mut base = self.module.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => {
                base.clear();
                rest = &path[1..];
            }
            Some("super" | "self") => {
                while let Some((first, after)) = rest.split_first()
                    && (first == "super" || first == "self")
                {
                    if first == "super" {
                        base.pop();
                    }
                    rest = after;
                }
            }
            _ => return,
        }
        base.extend(rest.iter().cloned());
        self.found.insert(base);
    }

    fn note_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.note_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            UseTree::Glob(_) => self.note(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(tree, before)),
        }
    }
}

/// Whether an item is there for tests alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

impl<'a> Visit<'a> for Paths<'_> {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            // A module within a file: tests, or what the build made.
            Item::Mod(item) if item.content.is_some() => return,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.note_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let path_of: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&path_of);
        visit::visit_path(self, path);
    }
}

#[test]
fn a_module_takes_from_lower_floors_only() {
    let floor = |module: &Module| FLOORS.iter().position(|name| *name == module[0]);
    let mut wrong = Vec::new();
    for (module, taken) in arrows(SERVICE) {
        let here = floor(&module).unwrap_or_else(|| panic!("{} has no floor: add it to FLOORS", module[0]));
        for other in taken.iter().filter(|other| other[0] != module[0]) {
            if floor(other).is_none_or(|there| there >= here) {
                wrong.push(format!("{} takes from {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "these arrows point upwards:\n{}", wrong.join("\n"));
}

/// A file and the files of the folder with its name are one thing here: a folder's file shows what is in it, and what
/// is in it may take from it.
#[test]
fn no_files_take_from_each_other_in_a_circle() {
    for sources in [SERVICE].iter().chain(&OTHERS) {
        let circles = circles(arrows(sources));
        assert!(circles.is_empty(), "in {sources} in a circle, or above one:\n{}", circles.join("\n"));
    }
}

/// The arrows that are in a circle, or lead to one.
fn circles(arrows: BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let is_within = |one: &Module, other: &Module| one.starts_with(other) || other.starts_with(one);
    let mut left: BTreeMap<Module, BTreeSet<Module>> = arrows
        .into_iter()
        .map(|(module, taken)| {
            let others = taken.into_iter().filter(|other| !is_within(&module, other)).collect();
            (module, others)
        })
        .collect();
    // What takes from nothing that is left is in no circle.
    loop {
        let free: Vec<Module> =
            left.iter().filter(|(_, taken)| taken.is_empty()).map(|(module, _)| module.clone()).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module, _| !free.contains(module));
        for taken in left.values_mut() {
            taken.retain(|module| !free.contains(module));
        }
    }
    left.iter()
        .map(|(module, taken)| {
            let taken: Vec<String> = taken.iter().map(|other| other.join("::")).collect();
            format!("{} takes from {}", module.join("::"), taken.join(", "))
        })
        .collect()
}

#[test]
fn every_floor_is_a_module() {
    let modules: BTreeSet<String> = arrows(SERVICE).into_keys().map(|module| module[0].clone()).collect();
    let unknown: Vec<_> = FLOORS.iter().filter(|floor| !modules.contains(**floor)).collect();
    assert!(unknown.is_empty(), "no module has these names: {unknown:?}");
}
