//! Update masks: every field of a resource can be named in its mask, future ones included.

use crm_backend::pb::Campaign;
use prost::Message;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage, Value,
};
use tonic::Code;

use crate::support::campaigns::{euros, planned};
use crate::support::customers::mask;
use crate::support::raw::{CONTRACT, call, is_immutable, is_output_only, rpcs};
use crate::support::{Crm, Refusal, Tenant};

/// A resource with an update mask.
struct Resource {
    /// The resource's field in the request and in the response.
    name: String,
    update: MethodDescriptor,
    tenant: Tenant,
    id: String,
}

impl Resource {
    fn descriptor(&self) -> MessageDescriptor {
        let field = self.update.input().get_field_by_name(&self.name).expect("the resource");
        field.kind().as_message().expect("a message").clone()
    }

    async fn update(
        &self,
        mut patch: DynamicMessage,
        paths: &[&str],
    ) -> Result<DynamicMessage, tonic::Status> {
        patch.set_field_by_name("id", Value::String(self.id.clone()));
        let mut request = DynamicMessage::new(self.update.input());
        request.set_field_by_name(&self.name, Value::Message(patch));
        if !paths.is_empty() {
            let field = request.descriptor().get_field_by_name("update_mask").expect("a mask");
            let mut value = DynamicMessage::new(field.kind().as_message().expect("a message").clone());
            value.transcode_from(&mask(paths)).expect("a mask");
            request.set_field(&field, Value::Message(value));
        }
        let answer = call(&self.tenant, &request, &self.update).await?;
        let resource = answer.get_field_by_name(&self.name).expect("the resource");
        Ok(resource.as_message().expect("a message").clone())
    }
}

/// Returns one resource of every kind that has an etag and is updated by a mask.
async fn resources(crm: &Crm) -> Vec<Resource> {
    let tenant = crm.tenant();
    let mut about = tenant.everything().await;
    about.campaign = started(&tenant).await;
    // No observation decides about its answer.
    about.faq = tenant.faq(&about.customer, "Before?", "").await.id;
    let resources = rpcs().into_iter().filter_map(|update| {
        update.input().get_field_by_name("update_mask")?;
        let ours = |field: &FieldDescriptor| matches!(field.kind(), Kind::Message(part) if part.package_name() == "crm.v1");
        let field = update.input().fields().find(ours)?;
        field.kind().as_message()?.get_field_by_name("etag")?;
        Some(Resource {
            id: about.id(field.name()).to_owned(),
            name: field.name().to_owned(),
            tenant: tenant.clone(),
            update,
        })
    });
    let resources: Vec<_> = resources.collect();
    assert!(resources.len() >= 5, "the contract has resources");
    resources
}

/// Creates a campaign with a start, so that it may be scheduled.
async fn started(tenant: &Tenant) -> String {
    let start_time = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let request = Campaign { start_time, ..planned("Before") };
    tenant.plan(request).await.expect("a campaign").id
}

/// Returns a value that differs from the field's default.
fn sample(field: &FieldDescriptor) -> Value {
    if field.is_list() {
        return Value::List(vec![one(field)]);
    }
    one(field)
}

fn one(field: &FieldDescriptor) -> Value {
    match (field.name(), field.kind()) {
        ("email", _) => text("new@cafe.example"),
        ("phone", _) => text("+43 1 23456"),
        ("website", _) => text("https://new.example"),
        ("country_code", _) => text("AT"),
        ("slug", _) => text("new-slug"),
        ("languages", _) => text("fr"),
        ("target_field", _) => text("custom_attributes.new"),
        (_, Kind::String) => text("new"),
        (_, Kind::Enum(_)) => Value::EnumNumber(2),
        (_, Kind::Bool) => Value::Bool(true),
        (_, Kind::Double) => Value::F64(0.5),
        (name, Kind::Message(message)) => Value::Message(match message.full_name() {
            "google.protobuf.Timestamp" => {
                let seconds = if name == "end_time" { 4_200_000_000 } else { 4_100_000_000 };
                of(&message, &prost_types::Timestamp { seconds, nanos: 0 })
            }
            "crm.v1.Money" => of(&message, &euros(7)),
            "google.protobuf.Struct" => {
                let number = prost_types::value::Kind::NumberValue(7.0);
                let value = prost_types::Value { kind: Some(number) };
                of(&message, &prost_types::Struct { fields: [("new".to_owned(), value)].into() })
            }
            _ => filled(&message),
        }),
        (name, kind) => panic!("{name}: {kind:?} has no sample yet"),
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn of(descriptor: &MessageDescriptor, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor.clone(), message.encode_to_vec().as_slice()).expect("the same message")
}

/// Returns a message with a sample in every writable field.
fn filled(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in writable(descriptor) {
        message.set_field(&field, sample(&field));
    }
    message
}

fn writable(descriptor: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let is_fixed = |field: &FieldDescriptor| is_output_only(field) || is_immutable(field);
    descriptor.fields().filter(|field| !is_fixed(field) && field.name() != "etag").collect()
}

/// Returns the paths of all writable fields, including the parts of our own messages.
fn paths(descriptor: &MessageDescriptor) -> Vec<Vec<FieldDescriptor>> {
    let mut found = Vec::new();
    for field in writable(descriptor) {
        if let Kind::Message(inner) = field.kind()
            && inner.package_name() == "crm.v1"
            // An amount is one value.
            && inner.name() != "Money"
            && !field.is_list()
        {
            found.extend(paths(&inner).into_iter().map(|mut path| {
                path.insert(0, field.clone());
                path
            }));
        }
        found.push(vec![field]);
    }
    found
}

fn dotted(path: &[FieldDescriptor]) -> String {
    path.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// Copies the field at `path` from another message.
fn take(target: &mut DynamicMessage, source: &DynamicMessage, path: &[FieldDescriptor]) {
    match path {
        [field] => target.set_field(field, source.get_field(field).into_owned()),
        [field, rest @ ..] => {
            let source = source.get_field(field);
            let source = source.as_message().expect("a message");
            take(target.get_field_mut(field).as_message_mut().expect("a message"), source, rest);
        }
        [] => {}
    }
}

/// Removes fields that change with every update, or that depend on other fields.
fn without_version(mut message: DynamicMessage) -> DynamicMessage {
    for field in ["etag", "update_time", "phone_e164", "anonymous"] {
        message.clear_field_by_name(field);
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mask_of_one_field_changes_that_field_alone() {
    let crm = Crm::start().await;
    for resource in resources(&crm).await {
        let new = filled(&resource.descriptor());
        let all = paths(&resource.descriptor());
        assert!(all.len() > 5);
        let nothing = DynamicMessage::new(resource.descriptor());
        let mut expected = resource.update(nothing, &[]).await.expect("no change");
        for path in all {
            let name = dotted(&path);
            let before = expected.clone();
            take(&mut expected, &new, &path);
            let after = resource
                .update(new.clone(), &[&name])
                .await
                .unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!(without_version(after.clone()), without_version(expected), "{name}");
            let same = without_version(before.clone()) == without_version(after.clone());
            let etags = [&before, &after]
                .map(|message| message.get_field_by_name("etag").expect("etag").into_owned());
            assert_eq!(etags[0] == etags[1], same, "the etag changes with the resource: {name}");
            expected = after;
        }
    }
}

/// Sets the field at `path` to a value, or to a list of this value.
fn put(message: &mut DynamicMessage, path: &[FieldDescriptor], value: &Value) {
    match path {
        [field] if field.is_list() => message.set_field(field, Value::List(vec![value.clone()])),
        [field] => message.set_field(field, value.clone()),
        [field, rest @ ..] => {
            put(message.get_field_mut(field).as_message_mut().expect("a message"), rest, value);
        }
        [] => {}
    }
}

/// Returns all values of an enum but zero, with their names.
fn values(field: &FieldDescriptor) -> Vec<(String, Value)> {
    let Kind::Enum(kind) = field.kind() else { return Vec::new() };
    let all = kind.values().filter(|value| value.number() != 0);
    all.map(|value| (value.name().to_owned(), Value::EnumNumber(value.number()))).collect()
}

/// Other RPCs set these.
const SET_OTHERWISE: [&str; 2] = ["CONVERSATION_STATUS_ENDED", "CONVERSATION_STATUS_ABANDONED"];

#[tokio::test(flavor = "multi_thread")]
async fn every_value_of_every_enum_can_be_set() {
    let crm = Crm::start().await;
    let (mut seen, mut refused) = (0, Vec::new());
    for resource in resources(&crm).await {
        // Values that need others have them: a time with a timing, a start with a schedule.
        let sample = filled(&resource.descriptor());
        resource.update(sample.clone(), &[]).await.expect("updated");
        for path in paths(&resource.descriptor()) {
            let mask = dotted(&path);
            for (name, value) in values(path.last().expect("a field")) {
                let mut patch = sample.clone();
                put(&mut patch, &path, &value);
                let after = match resource.update(patch.clone(), &[&mask]).await {
                    Ok(after) => after,
                    Err(error) => {
                        refused.push((name, error.message().to_owned()));
                        continue;
                    }
                };
                let [after, patch] = [&after, &patch].map(|message| {
                    let mut alone = DynamicMessage::new(resource.descriptor());
                    take(&mut alone, message, &path);
                    alone
                });
                assert_eq!(after, patch, "{} {name}", resource.name);
                seen += 1;
            }
        }
    }
    let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, SET_OTHERWISE, "{refused:?}");
    assert!(seen > 30, "{seen} values");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mask_all_that_is_set_changes_and_with_a_star_the_rest_is_emptied() {
    let crm = Crm::start().await;
    for resource in resources(&crm).await {
        let new = filled(&resource.descriptor());
        let after = resource.update(new.clone(), &[]).await.expect("updated");
        for field in writable(&resource.descriptor()) {
            assert_eq!(after.get_field(&field), new.get_field(&field), "{}", field.name());
        }
        let mut bare = DynamicMessage::new(resource.descriptor());
        if resource.name == "customer" {
            bare.set_field_by_name("business_name", text("Bare"));
        } else if resource.name == "pending_question" {
            bare.set_field_by_name("question", text("Bare?"));
        }
        if resource.name == "customer_faq" {
            bare.set_field_by_name("question", text("Bare?"));
        }
        if resource.name == "campaign" {
            bare.set_field_by_name("name", text("Bare"));
            // It is scheduled by now.
            let start_time = new.get_field_by_name("start_time").expect("a start").into_owned();
            bare.set_field_by_name("start_time", start_time);
        }
        let emptied = resource.update(bare.clone(), &["*"]).await.expect("updated");
        for field in writable(&resource.descriptor()) {
            match field.name() {
                // These cannot be empty.
                name if cannot_be_empty(&resource.name, name) => {
                    assert_eq!(emptied.get_field(&field), after.get_field(&field), "{}", field.name());
                }
                "presenter" => {}
                name => assert_eq!(emptied.get_field(&field), bare.get_field(&field), "{name}"),
            }
        }
    }
}

/// Whether an update cannot empty the field.
fn cannot_be_empty(resource: &str, field: &str) -> bool {
    ["slug", "status", "priority", "timing"].contains(&field)
        || [("customer_faq", "source"), ("conversation", "modality")].contains(&(resource, field))
}

#[tokio::test(flavor = "multi_thread")]
async fn output_only_fields_are_ignored() {
    let crm = Crm::start().await;
    for resource in resources(&crm).await {
        let before =
            resource.update(DynamicMessage::new(resource.descriptor()), &[]).await.expect("no change");
        let output: Vec<_> = resource.descriptor().fields().filter(is_output_only).collect();
        assert!(output.len() >= 3);
        let mut patch = DynamicMessage::new(resource.descriptor());
        for field in output.iter().filter(|field| field.name() != "id") {
            if let Kind::String | Kind::Enum(_) = field.kind() {
                patch.set_field(field, one(field));
            }
        }
        let names: Vec<_> = output.iter().map(|field| field.name().to_owned()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(resource.update(patch.clone(), &names).await.expect("ignored"), before);
        assert_eq!(resource.update(patch, &[]).await.expect("ignored"), before, "also without a mask");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_is_named_unless_it_stays() {
    let crm = Crm::start().await;
    let mut seen = 0;
    for resource in resources(&crm).await {
        let before =
            resource.update(DynamicMessage::new(resource.descriptor()), &[]).await.expect("no change");
        for field in resource.descriptor().fields().filter(is_immutable) {
            seen += 1;
            let path = format!("{}.{}", resource.name, field.name());
            let mut patch = DynamicMessage::new(resource.descriptor());
            let is_set = before.has_field(&field);
            if is_set {
                // Empty in the patch: cleared if it is named, kept with a star.
                let error = resource.update(patch.clone(), &[field.name()]).await.expect_err(&path);
                assert_eq!(error.is(Code::InvalidArgument, "FIELD_INVALID").fields(), [&*path]);
            }
            patch.set_field(&field, one(&field));
            for mask in [&[field.name()][..], &[]] {
                let error = resource.update(patch.clone(), mask).await.expect_err(&path);
                assert_eq!(error.is(Code::InvalidArgument, "FIELD_INVALID").fields(), [&*path], "{mask:?}");
                assert!(error.message().contains("cannot be changed"), "{error:?}");
            }
            patch.set_field(&field, before.get_field(&field).into_owned());
            for mask in [&[field.name()][..], &[]] {
                assert_eq!(resource.update(patch.clone(), mask).await.expect("the same"), before, "{path}");
            }
        }
        // A resource that was read may be sent back.
        assert_eq!(resource.update(before.clone(), &["*"]).await.expect("the same"), before);
    }
    assert_eq!(seen, 10, "all that are made with something that they keep");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_field_is_named() {
    let crm = Crm::start().await;
    for resource in resources(&crm).await {
        let open = match resource.name.as_str() {
            "customer" => "custom_attributes.",
            "conversation" => "metadata.`a",
            _ => "schedule_time.seconds",
        };
        for bad in ["nonsense", "", "*.x", ".", "id.x", open, "ID", " id", "a\0b", &"x".repeat(5_000)] {
            let patch = DynamicMessage::new(resource.descriptor());
            let error = resource.update(patch, &["id", bad]).await.expect_err(bad);
            error.is(Code::InvalidArgument, "FIELD_INVALID");
            assert_eq!(error.fields(), ["update_mask.paths[1]"], "{bad:?}");
            assert!(error.message().len() < 1_000, "errors stay short");
        }
    }
}

/// Returns the fields of a resource that are open objects.
fn open_objects(descriptor: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let is_open = |field: &FieldDescriptor| {
        let message = field.kind().as_message().map(|message| message.full_name().to_owned());
        field.is_map() || message.as_deref() == Some("google.protobuf.Struct")
    };
    writable(descriptor).into_iter().filter(is_open).collect()
}

fn object(entries: &[(&str, &str)]) -> prost_types::Struct {
    let text = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    let fields = entries.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
    prost_types::Struct { fields }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_an_open_object_changes_alone() {
    let crm = Crm::start().await;
    let mut seen = 0;
    for resource in resources(&crm).await {
        let descriptor = resource.descriptor();
        for field in open_objects(&descriptor) {
            seen += 1;
            let kind = field.kind();
            let inner = kind.as_message().expect("an object");
            let with = |entries: &[(&str, &str)]| {
                let mut patch = DynamicMessage::new(descriptor.clone());
                patch.set_field(&field, Value::Message(of(inner, &object(entries))));
                patch
            };
            let name = field.name();
            let update = async |entries: &[(&str, &str)], key: &str| {
                let path = format!("{name}{key}");
                let after = resource.update(with(entries), &[&path]).await;
                let after = after.unwrap_or_else(|error| panic!("{path}: {error:?}"));
                let value = after.get_field(&field);
                value
                    .as_message()
                    .expect("an object")
                    .transcode_to::<prost_types::Struct>()
                    .expect("an object")
            };
            let before = [("color", "red"), ("size", "9"), ("a.b", "dot")];
            assert_eq!(update(&before, "").await, object(&before));
            let new = [("color", "blue"), ("size", "1"), ("new", "x"), ("a.b", "new")];
            let after = update(&new, ".color").await;
            assert_eq!(after, object(&[("color", "blue"), ("size", "9"), ("a.b", "dot")]), "{name}");
            let after = update(&new, ".`a.b`").await;
            assert_eq!(after, object(&[("color", "blue"), ("size", "9"), ("a.b", "new")]), "{name}");
            let after = update(&new, ".new").await;
            let with_new = [("color", "blue"), ("size", "9"), ("a.b", "new"), ("new", "x")];
            assert_eq!(after, object(&with_new), "{name}");
            let after = update(&[], ".size").await;
            assert_eq!(after, object(&[("color", "blue"), ("a.b", "new"), ("new", "x")]), "{name}");
            for key in [".color", ".`a.b`", ".new", ".absent"] {
                update(&[], key).await;
            }
            assert_eq!(update(&[], ".absent").await, prost_types::Struct::default(), "{name}");
        }
    }
    assert!(seen >= 2, "{seen} open objects");
}

#[test]
fn a_create_takes_the_resource_and_a_request_id() {
    for (request, resource, name) in [
        ("CreateCustomerRequest", "Customer", "customer"),
        ("CreateCampaignRequest", "Campaign", "campaign"),
        ("CreateConversationRequest", "Conversation", "conversation"),
        ("CreateCustomerFaqRequest", "CustomerFaq", "customer_faq"),
        ("CreatePendingQuestionRequest", "PendingQuestion", "pending_question"),
        ("RecordPurchaseRequest", "Purchase", "purchase"),
        ("RecordAnalysisRequest", "ConversationAnalysis", "analysis"),
    ] {
        let request = CONTRACT.get_message_by_name(&format!("crm.v1.{request}")).expect("a message");
        let fields: Vec<_> = request.fields().map(|field| field.name().to_owned()).collect();
        assert!(fields[0] == name && fields[1] == "request_id", "{fields:?}");
        let Kind::Message(taken) = request.get_field_by_name(name).expect("it").kind() else {
            panic!("{name} is no message")
        };
        assert_eq!(taken.name(), resource);
    }
}
