//! Calls by descriptor, with any bytes.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::LazyLock;

use bytes::{Buf, BufMut};
use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor, ReflectMessage, Value,
};
use tokio_stream::{Stream, StreamExt};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::Tenant;
use super::errors::tells_no_secret;

/// The contract.
pub(crate) static CONTRACT: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).expect("the contract"));

/// Every RPC of the contract.
pub(crate) fn rpcs() -> Vec<MethodDescriptor> {
    let ours = CONTRACT.services().filter(|service| service.package_name() == "crm.v1");
    let rpcs: Vec<_> = ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(rpcs.len() >= 19, "the contract has RPCs");
    rpcs
}

/// Returns the RPC of this name.
pub(crate) fn rpc(name: &str) -> MethodDescriptor {
    rpcs().into_iter().find(|rpc| rpc.name() == name).expect("an RPC")
}

/// Returns the path of an RPC.
pub(crate) fn path(rpc: &MethodDescriptor) -> PathAndQuery {
    let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
    path.parse().expect("a path")
}

/// Calls an RPC, unary or stream, with one message of these bytes. Returns the first answer.
pub(crate) async fn call_bytes(
    channel: Channel,
    rpc: &MethodDescriptor,
    metadata: &[(&'static str, &str)],
    message: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let first = tokio_stream::once(message);
    // A stream stays open for more, so that only the server ends it.
    let messages: Messages = if rpc.is_client_streaming() {
        Box::pin(first.chain(tokio_stream::pending()))
    } else {
        Box::pin(first)
    };
    send(channel, path(rpc), metadata, messages).await.inspect_err(tells_no_secret)
}

/// Calls a path with an empty message.
pub(crate) async fn call_path(
    channel: Channel,
    path: PathAndQuery,
    metadata: &[(&'static str, &str)],
) -> Result<Vec<u8>, Status> {
    send(channel, path, metadata, Box::pin(tokio_stream::once(Vec::new()))).await
}

type Messages = Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>;

async fn send(
    channel: Channel,
    path: PathAndQuery,
    metadata: &[(&'static str, &str)],
    messages: Messages,
) -> Result<Vec<u8>, Status> {
    let mut request = Request::new(messages);
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().expect("a header value"));
    }
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("the service listens");
    let mut answers = client.streaming(request, path, Bytes).await?.into_inner();
    let answer = answers.message().await?;
    Ok(answer.unwrap_or_default())
}

/// Calls an RPC for a tenant, and returns its first answer.
pub(crate) async fn call(
    tenant: &Tenant,
    request: &DynamicMessage,
    rpc: &MethodDescriptor,
) -> Result<DynamicMessage, Status> {
    let id = tenant.id.to_string();
    let answer = call_bytes(tenant.channel(), rpc, &[(TENANT_HEADER, &id)], request.encode_to_vec()).await?;
    Ok(DynamicMessage::decode(rpc.output(), answer.as_slice()).expect("the answer that the contract says"))
}

/// Returns the error in the first answer of a stream, or in the first of several results, as a unary call would have
/// it.
pub(crate) fn stream_error(answer: &DynamicMessage) -> Option<Status> {
    if answer.descriptor().name() != "AddMessageResponse" {
        return result_error(answer);
    }
    let answer: pb::AddMessageResponse = answer.transcode_to().expect("the same message");
    match answer.result {
        Some(pb::add_message_response::Result::Error(error)) => Some(unary(error)),
        _ => None,
    }
}

/// Returns the error of the first of several results. Paths of invalid fields begin at the request.
fn result_error(answer: &DynamicMessage) -> Option<Status> {
    if let Some(id) = answer.get_field_by_name("refused").and_then(|refused| invalid_id(answer, &refused)) {
        return Some(id);
    }
    let results = answer.get_field_by_name("results")?;
    let error = results.as_list()?.first()?.as_message()?.get_field_by_name("error")?.into_owned();
    let error: tonic_types::pb::Status = error.as_message()?.transcode_to().expect("a status");
    let bytes = error.encode_to_vec();
    let status = Status::with_details(error.code.into(), error.message, bytes.into());
    let mut details = status.get_error_details();
    let Some(mut request) = details.bad_request().cloned() else {
        return (status.code() != tonic::Code::Ok).then_some(status);
    };
    for violation in &mut request.field_violations {
        violation.field = format!("events[0].{}", violation.field);
    }
    details.set_bad_request(request.field_violations);
    Some(Status::with_error_details(status.code(), status.message(), details))
}

/// Returns the error that a call with only this id would have, if the first of several ids is not a UUID.
fn invalid_id(answer: &DynamicMessage, refused: &Value) -> Option<Status> {
    let refused: pb::RefusedCustomer =
        refused.as_list()?.first()?.as_message()?.transcode_to().expect("the same message");
    let within = match answer.descriptor().name() {
        "AssignCustomersResponse" => "ids.customer_ids[0]",
        _ => "customer_ids[0]",
    };
    let mut details = ErrorDetails::with_bad_request_violation(within, "must be a UUID");
    details.set_error_info("FIELD_INVALID", "crm.v1", HashMap::new());
    let is_invalid = refused.reason() == pb::AssignmentRefusal::IdInvalid;
    is_invalid.then(|| Status::with_error_details(tonic::Code::InvalidArgument, "no UUID", details))
}

/// Returns the error of a message as a unary call would have it.
pub(crate) fn unary(error: pb::MessageError) -> Status {
    of_result(&error.status.expect("a status"))
}

/// Returns the error of one item among many as a unary call would have it.
pub(crate) fn of_result(status: &tonic_types::pb::Status) -> Status {
    let details = status.encode_to_vec();
    Status::with_details(status.code.into(), status.message.clone(), details.into())
}

/// A codec of raw bytes.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// Whether only the server writes the field, by the contract.
pub(crate) fn is_output_only(field: &FieldDescriptor) -> bool {
    behaves(field, 3)
}

/// Whether the field is set only when its resource is created, by the contract.
pub(crate) fn is_immutable(field: &FieldDescriptor) -> bool {
    behaves(field, 5)
}

/// Whether the field has this number of `google.api.FieldBehavior`.
fn behaves(field: &FieldDescriptor, behavior: i32) -> bool {
    let extension = CONTRACT.get_extension_by_name("google.api.field_behavior").expect("the extension");
    let options = field.options();
    options
        .get_extension(&extension)
        .as_list()
        .is_some_and(|values| values.contains(&Value::EnumNumber(behavior)))
}

/// A body of these bytes.
pub(crate) struct Chunk(Option<Vec<u8>>);

impl Chunk {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Some(bytes))
    }
}

impl http_body::Body for Chunk {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Status>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes.into()))))
    }
}
