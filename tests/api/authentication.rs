//! Every call must prove its caller's identity, and gets no more than its caller may have.

use crm_backend::identity::TENANT_HEADER;
use crm_backend::pb::{self, AccessScope};
use crm_backend::rpc::method::Method;
use prost::Message;
use prost_reflect::MethodDescriptor;
use serde_json::json;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1;
use uuid::Uuid;

use crate::support::credentials::{ALL, claims, claims_but, config, tokens_by, with_keys, with_tokens};
use crate::support::issuer::{SigningKey, jwks};
use crate::support::raw::{call_bytes, call_path, path, rpcs};
use crate::support::samples::{self, About};
use crate::support::web::Web;
use crate::support::{Crm, Refusal, credentials};

const AUTHORIZATION: &str = "authorization";

fn sample(rpc: &MethodDescriptor) -> Vec<u8> {
    samples::request(rpc, &About::nothing()).encode_to_vec()
}

fn scope(rpc: &MethodDescriptor) -> AccessScope {
    Method::find(path(rpc).as_str()).expect("an RPC").scope
}

/// Returns every scope except one.
fn all_but(scope: AccessScope) -> String {
    let others = ["read", "write", "admin"].into_iter();
    others.filter(|word| !format!("{scope:?}").eq_ignore_ascii_case(word)).collect::<Vec<_>>().join(" ")
}

/// Returns a valid request, and bytes that no handler would accept.
fn bodies(rpc: &MethodDescriptor) -> [Vec<u8>; 2] {
    [sample(rpc), vec![0xff; 16]]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rpc_is_reached_without_a_credential_its_tenant_and_its_scope() {
    let key = SigningKey::ed25519("1");
    let crm = with_tokens(&key).await;
    let tenant = Uuid::new_v4();
    let id = tenant.to_string();
    let bearer = |claims| format!("Bearer {}", key.sign(&claims));
    let stranger = bearer(claims(Uuid::new_v4(), "read write admin"));
    for rpc in rpcs() {
        let lacking = bearer(claims(tenant, &all_but(scope(&rpc))));
        let granted = bearer(claims(tenant, &format!("{:?}", scope(&rpc)).to_lowercase()));
        let several = bearer(claims_but(tenant, "tenants", json!([tenant, Uuid::new_v4()])));
        for body in bodies(&rpc) {
            let call = async |metadata: &[(&'static str, &str)]| {
                call_bytes(crm.channel(), &rpc, metadata, body.clone()).await.expect_err(rpc.full_name())
            };
            let error = call(&[(TENANT_HEADER, &id)]).await;
            error.is(Code::Unauthenticated, "CREDENTIAL_REQUIRED");
            assert!(error.message().contains("authorization: Bearer"), "it says what to send: {error:?}");
            let error = call(&[(TENANT_HEADER, &id), (AUTHORIZATION, &stranger)]).await;
            error.is(Code::PermissionDenied, "TENANT_NOT_GRANTED");
            let error = call(&[(TENANT_HEADER, &id), (AUTHORIZATION, &lacking)]).await;
            error.is(Code::PermissionDenied, "SCOPE_NOT_GRANTED");
            let error = call(&[(AUTHORIZATION, &several)]).await;
            error.is(Code::Unauthenticated, "TENANT_REQUIRED");
        }
        let metadata = [(TENANT_HEADER, id.as_str()), (AUTHORIZATION, granted.as_str())];
        if let Err(error) = call_bytes(crm.channel(), &rpc, &metadata, sample(&rpc)).await {
            assert!(!matches!(error.code(), Code::Unauthenticated | Code::PermissionDenied), "{error:?}");
        }
    }
    let made = crm.sql().await.number("SELECT count(DISTINCT tenant_id) FROM customers").await;
    assert_eq!(made, 1, "only the granted call has made anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_of_one_tenant_need_not_name_it() {
    let key = SigningKey::ed25519("1");
    let crm = with_tokens(&key).await;
    let tenant = crm.tenant();
    let token = format!("Bearer {}", key.sign(&claims(tenant.id, "read write")));
    let zoe = tenant.with(&key.sign(&claims(tenant.id, "read write"))).customer("Zoe").await;
    let rpc = crate::support::raw::rpc("GetCustomer");
    let get = pb::GetCustomerRequest { id: zoe.id.clone(), ..Default::default() }.encode_to_vec();
    let answer =
        call_bytes(crm.channel(), &rpc, &[(AUTHORIZATION, &token)], get.clone()).await.expect("an answer");
    let answer = pb::GetCustomerResponse::decode(answer.as_slice()).expect("an answer");
    assert_eq!(answer.customer.expect("a customer").id, zoe.id);
    // What is sent counts, whether it is right or wrong.
    for (named, code, reason) in [
        (Uuid::new_v4().to_string(), Code::PermissionDenied, "TENANT_NOT_GRANTED"),
        (String::new(), Code::InvalidArgument, "TENANT_INVALID"),
    ] {
        let metadata = [(AUTHORIZATION, token.as_str()), (TENANT_HEADER, named.as_str())];
        call_bytes(crm.channel(), &rpc, &metadata, get.clone())
            .await
            .expect_err("not granted")
            .is(code, reason);
    }
    let web = Web::stranger(&crm).with(AUTHORIZATION, &token);
    let path = format!("/api/v1/customers/{}", zoe.id);
    assert_eq!(web.get(&path).await.good()["customer"]["id"], zoe.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_credential_is_refused_by_every_mode() {
    let key = SigningKey::ed25519("1");
    for crm in [with_tokens(&key).await, with_keys().await] {
        let id = Uuid::new_v4().to_string();
        let good = format!("Bearer {}", key.sign(&claims(Uuid::new_v4(), "read")));
        let rpc = crate::support::raw::rpc("GetCustomer");
        for bad in
            ["", "Bearer", "Bearer ", "Basic enpl", "Bearer x", "Bearer a.b.c", "Bearer crm_", "Bearer crm_x"]
        {
            let metadata = [(TENANT_HEADER, id.as_str()), (AUTHORIZATION, bad)];
            let error = call_bytes(crm.channel(), &rpc, &metadata, sample(&rpc)).await.expect_err(bad);
            error.is(Code::Unauthenticated, "CREDENTIAL_INVALID");
        }
        let twice = [(TENANT_HEADER, id.as_str()), (AUTHORIZATION, &good), (AUTHORIZATION, &good)];
        let error = call_bytes(crm.channel(), &rpc, &twice, sample(&rpc)).await.expect_err("twice");
        error.is(Code::Unauthenticated, "CREDENTIAL_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_keys_can_be_taken_together_and_each_stands_for_itself() {
    let key = SigningKey::es256("1");
    let files = credentials::Files::new();
    let set = files.write("keys.json", jwks(&[&key]));
    let mut auth = tokens_by(&["--jwt-jwks-file", &set]);
    auth.auth = config(&["--auth", "api-key"]).auth.into_iter().chain(auth.auth).collect();
    let crm = Crm::with(credentials::asking(&auth, credentials::bounds()).await).await;
    let tenant = crm.tenant_with_key().await;
    let zoe = tenant.customer("Zoe").await;
    let by_token = tenant.with(&key.sign(&claims(tenant.id, "read")));
    assert_eq!(by_token.get(&zoe.id).await.expect("granted"), zoe);
    let refused = by_token.delete(&zoe.id).await.expect_err("only to read");
    refused.is(Code::PermissionDenied, "SCOPE_NOT_GRANTED");
    let nothing = crm.tenant().get(&zoe.id).await.expect_err("no credential");
    nothing.is(Code::Unauthenticated, "CREDENTIAL_REQUIRED");
    assert!(nothing.message().contains("a token or an API key"), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_rpc_is_only_told_to_be_none_to_who_may_call() {
    let crm = with_keys().await;
    let (_, secret) = crm.key(&crm.tenant(), ALL, None).await;
    let bearer = format!("Bearer {secret}");
    for unknown in ["/crm.v1.CustomerService/Nonsense", "/nonsense/Get", "/grpc.nonsense/Get"] {
        let unknown = || unknown.parse().expect("a path");
        let error = call_path(crm.channel(), unknown(), &[]).await.expect_err("no credential");
        error.is(Code::Unauthenticated, "CREDENTIAL_REQUIRED");
        let error =
            call_path(crm.channel(), unknown(), &[(AUTHORIZATION, &bearer)]).await.expect_err("unknown");
        assert_eq!(error.code(), Code::Unimplemented);
    }
}

async fn list_services(crm: &Crm, credential: Option<&str>) -> Result<(), Status> {
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut request = tonic::Request::new(tokio_stream::once(ask));
    if let Some(secret) = credential {
        let bearer = format!("Bearer {secret}").parse().expect("a header value");
        request.metadata_mut().insert(AUTHORIZATION, bearer);
    }
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(crm.channel());
    client.server_reflection_info(request).await?.into_inner().message().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_and_reflection_is_for_whoever_may_call() {
    let crm = with_keys().await;
    let (_, secret) = crm.key(&crm.tenant(), [AccessScope::Read], None).await;
    HealthClient::new(crm.channel()).check(HealthCheckRequest::default()).await.expect("health is open");
    let refused = list_services(&crm, None).await.expect_err("no credential");
    refused.is(Code::Unauthenticated, "CREDENTIAL_REQUIRED");
    let refused = list_services(&crm, Some("crm_x")).await.expect_err("no key");
    refused.is(Code::Unauthenticated, "CREDENTIAL_INVALID");
    list_services(&crm, Some(&secret)).await.expect("granted");
}
