//! The stacks of `perf script`, folded into a tree.

use std::collections::BTreeMap;

/// The longest name of a function that is kept: those of generic functions have thousands of bytes.
const LONGEST: usize = 200;

/// What perf writes for a function without a name.
const UNKNOWN: &str = "[unknown]";

/// A function in the stacks, below those that called it.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// The samples in this function and in those that it called.
    pub(super) samples: u64,
    pub(super) calls: BTreeMap<String, Frame>,
}

impl Frame {
    /// Adds a stack, from the outermost function on.
    fn add<'s>(&mut self, stack: impl Iterator<Item = &'s str>) {
        self.samples += 1;
        let mut frame = self;
        for name in stack {
            frame = frame.calls.entry(name.chars().take(LONGEST).collect()).or_default();
            frame.samples += 1;
        }
    }

    /// Returns the number of functions in the deepest stack.
    pub(super) fn depth(&self) -> usize {
        self.calls.values().map(|call| 1 + call.depth()).max().unwrap_or(0)
    }
}

/// Adds all stacks of the text that `perf script` wrote. The process is the outermost name; `service` is the one whose
/// threads have names of their own.
pub(super) fn add(root: &mut Frame, text: &str, service: i32) {
    for sample in text.split("\n\n") {
        let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
        let Some((name, pid)) = lines.next().and_then(|line| line.trim().rsplit_once(' ')) else { continue };
        let process = match pid.parse() == Ok(service) {
            true => "crm-backend",
            false => name.trim(),
        };
        let functions: Vec<&str> = lines.map(function).collect();
        root.add(std::iter::once(process).chain(functions.into_iter().rev()));
    }
}

/// Returns the function of a line that has an address, a name and a file in brackets; the file if it does not tell the
/// names of its functions.
fn function(line: &str) -> &str {
    let Some((_, name)) = line.trim().split_once(' ') else { return UNKNOWN };
    let Some((name, file)) = name.rsplit_once(" (") else { return name };
    match name {
        UNKNOWN => file.trim_end_matches(')').rsplit('/').next().unwrap_or(UNKNOWN),
        name => name,
    }
}
