//! The contract's generated code: messages, clients and servers of `crm.v1`.
//!
//! The protos have the documentation.
#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; what it means is written in the protos"
)]

tonic::include_proto!("crm.v1");

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, with our comments: what
/// reflection serves, and what masks are read with.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
