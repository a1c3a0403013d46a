//! The RPCs of the contract, as the layers find them: by path.

use crate::pb::{AccessCost, AccessScope, ResourceType};

/// The table that the build made from the protos.
mod generated {
    use super::Method;

    include!(concat!(env!("OUT_DIR"), "/methods.rs"));
}

/// An RPC.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// The index among the RPCs of the contract, by which its metrics are found.
    pub place: usize,
    /// `package.Service/Method`.
    pub name: &'static str,
    /// What a caller's credential must grant.
    pub scope: AccessScope,
    /// How costly a call is.
    pub cost: AccessCost,
    /// The kind of resource that a call changes; `None` if it only reads.
    pub resource_type: Option<ResourceType>,
    /// Whether its calls are streams.
    pub streaming: bool,
}

impl Method {
    /// Returns the RPC with a path such as `/crm.v1.CustomerService/GetCustomer`.
    pub fn find(path: &str) -> Option<&'static Self> {
        generated::find(path)
    }
}
