//! The Model Context Protocol: eleven tools with which AI agents read and write, over HTTP (`POST /mcp`) and on the
//! standard streams of `crm-backend mcp`.
//!
//! A tool is one to three calls of the contract's own clients. Within the server they go through the layer of all
//! calls, with the headers and the certificate of the agent's request: so callers, scopes, limits, deadlines, the
//! audit log and detaching are those of gRPC, and no rule is written twice.
//!
//! | file | has |
//! |---|---|
//! | `tools.json` | what agents read: names, descriptions, arguments. It is sent with every conversation of an agent, so every word counts |
//! | `catalog` | the same, parsed; `arguments` checks the arguments of a call against it |
//! | `tools` | what each tool does |
//! | `markdown` | its answers, within a budget of tokens |
//! | `calls` | the clients, and what they pass on; `keys` makes ids by which repeated calls are recognized |
//! | `trouble` | errors, with what to do instead |
//! | `handler` | the protocol; `door` serves it over HTTP, `stdio` on standard streams, where `session` is the caller |

mod arguments;
mod calls;
mod catalog;
mod door;
mod handler;
mod keys;
mod markdown;
mod protected_resource;
mod session;
mod stdio;
mod tools;
mod trouble;

pub use calls::Calls;
pub use door::{Door, Entrance};
pub use stdio::{StdioError, serve as serve_stdio};

/// The path of MCP over HTTP.
pub const PATH: &str = "/mcp";
