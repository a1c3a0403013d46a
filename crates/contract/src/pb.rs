//! The contract's generated code: the messages of `crm.v1`, its clients and its servers.
//!
//! The protos have the documentation.
#![expect(clippy::large_enum_variant, reason = "generated; what it means is written in the protos")]
#![cfg_attr(feature = "server", expect(clippy::allow_attributes, reason = "generated"))]
#![cfg_attr(
    any(feature = "client", feature = "server"),
    expect(clippy::allow_attributes_without_reason, reason = "generated")
)]

tonic::include_proto!("crm.v1");

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, with our comments, for reflection and for field
/// masks.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The contract, for lookups of messages, fields and methods.
#[cfg(feature = "reflection")]
pub static CONTRACT: std::sync::LazyLock<prost_reflect::DescriptorPool> = std::sync::LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the build made these bytes from the contract that it compiled")]
    prost_reflect::DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract's own descriptor")
});
