//! An error of every reason, as clients get it: code, message and details. The snapshots let people review the texts
//! before clients read them.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prost_types::FieldMask;
use tonic::{Code, Status};
use tonic_types::{ErrorDetail, StatusExt};
use uuid::Uuid;

use crate::audit::rules::SubjectSlot;
use crate::contract::Word;
use crate::conversations::messages;
use crate::conversations::messages::store::StoredMessage;
use crate::customers::field::Field;
use crate::db::Deadline;
use crate::db::words::Text;
use crate::error::*;
use crate::identity::Caller;
use crate::pb::{self, ErrorReason as Reason, MessageStatus};
use crate::rpc::etag::Etag;
use crate::rpc::mask::Change;
use crate::rpc::method::Method;
use crate::rpc::{Call, Context, PageKey, etag, incoming, layer, size};
use crate::{auth, campaigns, conversations, customers, db, engagement, faqs, idempotency, questions};

const ONE: Uuid = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001);
const TWO: Uuid = Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0002);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).expect("a time")
}

/// Returns the errors of a reason, each with the name of its case. A reason without a case does not compile.
fn cases(reason: Reason) -> Vec<(&'static str, Status)> {
    let of = |error: Error| vec![("", Status::from(error))];
    let tonics = |code: Code, text: &str| vec![("", layer::complete(&Status::new(code, text), ONE))];
    match reason {
        Reason::Unspecified => Vec::new(),
        Reason::TenantRequired
        | Reason::TenantInvalid
        | Reason::CredentialRequired
        | Reason::CredentialInvalid
        | Reason::CredentialExpired
        | Reason::CredentialRevoked
        | Reason::TenantNotGranted
        | Reason::ScopeNotGranted => of(auth::tests::refused(reason)),
        Reason::FieldInvalid => fields(),
        Reason::RequestMalformed => malformed(),
        Reason::RequestTooLarge => tonics(
            Code::OutOfRange,
            "Error, decoded message length too large: found 1048999 bytes, the limit is: 1048576 bytes",
        ),
        Reason::PageTokenInvalid => of(page_token()),
        Reason::EtagInvalid => of(Etag::expected("etag", "W/1").expect_err("no etag")),
        Reason::EtagStale => {
            of(etag::check(Some(Etag::of(ONE, 1, now())), Etag::of(ONE, 2, now())).expect_err("stale"))
        }
        Reason::IdempotencyKeyReused => vec![
            ("of a request", idempotency::reused(ONE).into()),
            ("of a message", {
                let differing = ["content", "role"].map(str::to_owned);
                messages::rules::has_another(&known(), &differing).into()
            }),
        ],
        Reason::CustomerNotFound => vec![
            ("unknown", customers::actions::not_found(ONE).into()),
            ("deleted", customers::actions::is_deleted(ONE).into()),
        ],
        Reason::SlugTaken => of(customers::actions::slug_taken("cafe-zoe")),
        Reason::CustomerNotDeleted => of(customers::actions::not_deleted(ONE)),
        Reason::ConversationNotFound => vec![
            ("unknown", refusal(conversations::rules::check_of(ONE, None, TWO))),
            ("of another customer", refusal(conversations::rules::check_of(ONE, Some(&ONE), TWO))),
        ],
        Reason::SessionIdTaken => of(conversations::rules::session_taken(ONE)),
        Reason::ConversationEnded => of(conversations::rules::ended(ONE)),
        Reason::MessageNotFound => of(messages::actions::message_not_found(ONE)),
        Reason::SequenceOutOfRange => vec![("", refusal(messages::actions::check_position(5, 3)))],
        Reason::Conflict => of(Error::conflict()),
        Reason::Overloaded => of(layer::refused(reason)),
        Reason::DatabaseBusy => of(db::none_free("the cause")),
        Reason::AuditEventNotFound => of(crate::audit_events::rules::not_found(ONE)),
        Reason::DatabaseUnavailable => of(Error::database_unavailable("connection refused")),
        Reason::DeadlineExceeded => of(Error::DeadlineExceeded),
        Reason::ShuttingDown => of(Error::shutting_down()),
        Reason::MethodUnknown => tonics(Code::Unimplemented, ""),
        Reason::Internal => vec![
            ("", Error::internal("the cause").into()),
            ("a right is missing", Error::Forbidden("the cause".into()).into()),
        ],
        Reason::MessageHeld => of(messages::rules::held(Duration::from_secs(59))),
        Reason::MessageNotStarted => of(messages::rules::taken_over(&known())),
        Reason::MessageClosed => of(messages::rules::closed(&known())),
        Reason::OffsetOutOfRange => of(messages::rules::beyond("delta.offset", 12)),
        Reason::TextDiffers => of(messages::rules::differs(12)),
        Reason::ResumeTokenInvalid => of(conversations::foreign_token()),
        Reason::PendingQuestionNotFound => of(questions::rules::not_found(ONE)),
        Reason::PendingQuestionStepNotAllowed => closed_question(),
        Reason::TargetFieldTaken => vec![
            (
                "of another content",
                questions::rules::target_taken("phone", ONE, &["purpose", "priority"]).into(),
            ),
            ("of another question", questions::rules::target_taken("phone", ONE, &[]).into()),
        ],
        Reason::TargetFieldFilled => {
            let field = Field::parse("brand_voice.tone").expect("a field");
            of(customers::field::is_filled_already(ONE, &field))
        }
        Reason::CustomerFaqNotFound => vec![
            ("unknown", faqs::rules::not_found(ONE).into()),
            ("of another customer", faqs::rules::not_of(ONE, TWO).into()),
        ],
        Reason::CustomerFaqExists => vec![
            ("of another content", faqs::rules::exists(ONE, &["answer", "status"]).into()),
            ("of another FAQ", faqs::rules::exists(ONE, &[]).into()),
        ],
        Reason::FaqObservationNotFound => of(faqs::rules::no_observation(ONE)),
        Reason::TenantQuotaExceeded | Reason::TenantRateExceeded => of(layer::refused(reason)),
        Reason::CampaignNotFound => of(campaigns::rules::not_found(ONE)),
        Reason::CampaignStepNotAllowed
        | Reason::CampaignInUse
        | Reason::CampaignCurrencyFixed
        | Reason::CampaignClosed => campaign(reason),
        Reason::CampaignEventNotFound => of(campaigns::events::rules::not_found(ONE)),
        Reason::InterestEventNotFound => of(engagement::interest::rules::not_found(ONE)),
        Reason::OrderIdTaken => of(engagement::purchases::rules::order_id_taken(ONE, &["status", "amount"])),
        Reason::PurchaseNotFound => of(engagement::purchases::rules::not_found(ONE)),
        Reason::RefundExceedsPayment | Reason::PurchaseStepNotAllowed => purchase(reason),
        Reason::NewerVersion => of(Error::newer_version()),
        Reason::ExternalIdTaken => of(external_id_taken()),
        Reason::ConversationAnalysisNotFound => of(conversations::analyses::actions::analysis_not_found(ONE)),
        Reason::ResourceTooLarge => of(size::too_large("customer", 1_048_577)),
    }
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Status {
    result.expect_err("an error").into()
}

fn external_id_taken() -> Error {
    let id = customers::model::ExternalId { source: "shop".to_owned(), id: "4711".to_owned() };
    customers::actions::external_id_taken(&id, ONE)
}

fn fields() -> Vec<(&'static str, Status)> {
    let bad = pb::Customer {
        email: "nonsense".to_owned(),
        slug: "-A".to_owned(),
        country_code: "at".to_owned(),
        status: 99,
        tags: vec!["a\nb".to_owned(); 101],
        phone: "?".to_owned(),
        ..Default::default()
    };
    let bad = pb::CreateCustomerRequest { customer: Some(bad), request_id: "1".to_owned() };
    let nobody = pb::AssignCustomersRequest { campaign_id: ONE.to_string(), ..Default::default() };
    let patch = pb::Customer::default();
    let mask = FieldMask { paths: vec!["customer.businessName".to_owned(), "nonsense".to_owned()] };
    vec![
        ("several fields", refusal(crate::rpc::check(&bad))),
        ("a missing oneof", refusal(crate::rpc::check(&nobody))),
        ("a mask", refusal(Change::new("customer", &patch, Some(&mask)))),
        ("not storable", Error::Unstorable("the cause".into()).into()),
    ]
}

fn malformed() -> Vec<(&'static str, Status)> {
    let read = |bytes: &[u8]| refusal(incoming::read::<pb::CreateCustomerRequest>(bytes));
    let tonics = |text: &str| layer::complete(&Status::internal(text), ONE);
    vec![
        ("bad UTF-8", read(&[(1 << 3) | 2, 4, (2 << 3) | 2, 2, 0xc3, 0x28])),
        ("cut off", read(&[(1 << 3) | 2, 3, (2 << 3) | 2, 100, b'x'])),
        ("another type", read(&[(1 << 3) | 2, 5, (2 << 3) | 5, 0, 0, 0, 0])),
        ("no protobuf", read(&[0, 0])),
        ("empty", tonics("Missing request message.")),
        ("no gRPC", tonics("protocol error: received message with invalid compression flag: 9")),
    ]
}

fn page_token() -> Error {
    let call = Call {
        context: Context {
            freshness: None,
            caller: Caller::caretaker(ONE),
            method: Method::find("/crm.v1.CustomerService/ListCustomers").expect("an RPC"),
            deadline: Deadline::after(Duration::from_secs(1)),
            id: Uuid::nil(),
            subject: SubjectSlot::default(),
            costs: Default::default(),
        },
        message: pb::ListCustomersRequest { page_token: "50".to_owned(), ..Default::default() },
    };
    PageKey::new(vec![7; 32]).open::<_, String>(&call).expect_err("not our token")
}

fn known() -> StoredMessage {
    StoredMessage {
        conversation_id: TWO,
        message_key: "a".to_owned(),
        id: ONE,
        sequence: 1,
        fingerprint: Vec::new(),
        status: Text(MessageStatus::Completed),
        durable_offset: 12,
        since: 0,
        producer_id: None,
        holder: None,
        idle_ms: None,
    }
}

fn closed_question() -> Vec<(&'static str, Status)> {
    let question = pb::PendingQuestion {
        customer_id: TWO.to_string(),
        target_field: "phone".to_owned(),
        ..Default::default()
    };
    let mut question = questions::wire::create(Some(&question), ONE, now()).expect("a question");
    question.status = Text(pb::PendingQuestionStatus::Declined);
    question.skip_reason = "private".to_owned();
    let closed = questions::rules::check_update(&question);
    let skip = questions::rules::Step::Skip { declined: true, reason: "busy".to_owned() };
    vec![("closed", refusal(closed)), ("closed with other content", refusal(skip.take(&question, now())))]
}

fn campaign(reason: Reason) -> Vec<(&'static str, Status)> {
    let campaign = Some(pb::Campaign { name: "Spring".to_owned(), ..Default::default() });
    let request = pb::CreateCampaignRequest { campaign, request_id: String::new() };
    let mut campaign = campaigns::wire::create(&request, ONE, now()).expect("a campaign");
    campaign.currency = Some("EUR".to_owned());
    let of = |status| campaigns::store::Campaign { status: Text(status), ..campaign.clone() };
    let status = match reason {
        Reason::CampaignStepNotAllowed => {
            let (from, to) = (of(pb::CampaignStatus::Draft), of(pb::CampaignStatus::Completed));
            refusal(campaigns::rules::check_update(&from, &to))
        }
        Reason::CampaignClosed => refusal(campaigns::rules::check_assign(&of(pb::CampaignStatus::Completed))),
        Reason::CampaignCurrencyFixed => campaigns::rules::costs_have_currency(&campaign).into(),
        _ => campaigns::rules::in_use(ONE).into(),
    };
    vec![("", status)]
}

fn purchase(reason: Reason) -> Vec<(&'static str, Status)> {
    let amount = Some(pb::Money { currency_code: "EUR".to_owned(), units: 5, nanos: 0 });
    let purchase = Some(pb::Purchase { customer_id: TWO.to_string(), amount, ..Default::default() });
    let request = pb::RecordPurchaseRequest { purchase, request_id: String::new() };
    let purchase = engagement::purchases::wire::record(&request, ONE, now()).expect("a purchase");
    if reason == Reason::PurchaseStepNotAllowed {
        let settling =
            engagement::purchases::rules::Settling { status: pb::PurchaseStatus::Failed, payment_id: None };
        return vec![("", refusal(engagement::purchases::rules::settle(&purchase, &settling, now())))];
    }
    let exceeds = |left: i64| engagement::purchases::rules::exceeds(&purchase, left).into();
    vec![("some is left", exceeds(3_500_000)), ("nothing is left", exceeds(0))]
}

/// Returns a status as text, without times that differ between runs.
fn shown(status: &Status) -> String {
    let mut text = format!("{:?}: {}\n", status.code(), status.message());
    for detail in status.get_error_details_vec() {
        let _ = match detail {
            ErrorDetail::ErrorInfo(info) if info.metadata.is_empty() => Ok(()),
            ErrorDetail::ErrorInfo(info) => writeln!(text, "  ErrorInfo {:?}", info.metadata),
            ErrorDetail::RetryInfo(_) => writeln!(text, "  RetryInfo"),
            ErrorDetail::BadRequest(request) => request
                .field_violations
                .iter()
                .try_for_each(|one| writeln!(text, "  {:?} {}", one.field, one.description)),
            other => writeln!(text, "  {other:?}"),
        };
    }
    text
}

#[test]
fn an_error_of_every_reason_is_one_that_a_stranger_understands() {
    let mut all = String::new();
    let mut seen = 0;
    for reason in (0..).map_while(|number| Reason::try_from(number).ok()) {
        for (case, status) in cases(reason) {
            let details = status.get_error_details();
            let info = details.error_info().expect("an ErrorInfo");
            assert!(
                case == "not storable" || case == "a right is missing" || info.reason == reason.word(),
                "{info:?}"
            );
            assert!(status.message().len() > 20, "{reason:?} says what to do: {status:?}");
            let title = if case.is_empty() { "" } else { ", " };
            let _ = writeln!(all, "## {}{title}{case}\n{}", reason.word(), shown(&status));
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} cases");
    insta::assert_snapshot!(all);
}

#[test]
fn reasons_have_no_gaps() {
    let last = (0..1_000).filter(|number| Reason::try_from(*number).is_ok()).max();
    let first_gap = (0..1_000).find(|number| Reason::try_from(*number).is_err());
    assert_eq!(last.map(|last| last + 1), first_gap, "the test above goes up to the first gap");
}
