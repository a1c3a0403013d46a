//! The RPCs of the contract, as the layers know them: by their paths.

use crate::pb::{AccessCost, AccessScope, ResourceType};

/// The table that the build made of the protos.
mod generated {
    use super::Method;

    include!(concat!(env!("OUT_DIR"), "/methods.rs"));
}

/// An RPC.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// The place among the RPCs of the contract, by which its series are found.
    pub place: usize,
    /// `package.Service/Method`.
    pub name: &'static str,
    /// What a caller's credential must grant.
    pub scope: AccessScope,
    /// How much work a call is.
    pub cost: AccessCost,
    /// The kind of thing that a call changes; nothing where it only reads.
    pub resource_type: Option<ResourceType>,
    /// Whether a call of it may stay open; a unary call may not.
    pub streaming: bool,
}

impl Method {
    /// The RPC that is called by a path, such as `/crm.v1.CustomerService/GetCustomer`.
    pub fn find(path: &str) -> Option<&'static Self> {
        generated::find(path)
    }
}
