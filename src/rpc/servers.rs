//! The servers of the contract's services, generated with the codec of this service.
#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; what it means is written in the protos"
)]

tonic::include_proto!("crm.v1");
