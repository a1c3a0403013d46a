//! The contract's generated code: messages, clients and servers of `crm.v1`.
//!
//! The protos have the documentation.
#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::large_enum_variant,
    reason = "generated; what it means is written in the protos"
)]

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

tonic::include_proto!("crm.v1");

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, with our comments, for
/// reflection and for field masks.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The contract, for lookups of messages, fields and methods.
pub static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the build made these bytes from the contract that it compiled")]
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract's own descriptor")
});
