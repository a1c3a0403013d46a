//! A request for every RPC, as bytes, so that tests can go through all of them.

use crm_backend::pb;
use prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};

/// The resources of a sample.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) customer: String,
    pub(crate) slug: String,
    pub(crate) conversation: String,
    pub(crate) message: String,
    pub(crate) analysis: String,
    pub(crate) question: String,
    pub(crate) faq: String,
    pub(crate) observation: String,
    pub(crate) campaign: String,
    pub(crate) purchase: String,
    pub(crate) audit_event: String,
    pub(crate) campaign_event: String,
    pub(crate) interest_event: String,
    /// A free text.
    pub(crate) text: String,
    /// The `request_id` of a mutation; empty if there is none.
    pub(crate) request_id: String,
}

impl About {
    /// Returns all names by which a client could know one from another.
    pub(crate) fn names(&self) -> [&str; 13] {
        [
            &self.customer,
            &self.slug,
            &self.conversation,
            &self.message,
            &self.analysis,
            &self.question,
            &self.faq,
            &self.observation,
            &self.campaign,
            &self.purchase,
            &self.audit_event,
            &self.campaign_event,
            &self.interest_event,
        ]
    }

    /// Returns ids that do not exist.
    pub(crate) fn nothing() -> Self {
        Self {
            customer: uuid::Uuid::now_v7().to_string(),
            slug: "nobody".to_owned(),
            conversation: uuid::Uuid::now_v7().to_string(),
            message: uuid::Uuid::now_v7().to_string(),
            analysis: uuid::Uuid::now_v7().to_string(),
            question: uuid::Uuid::now_v7().to_string(),
            faq: uuid::Uuid::now_v7().to_string(),
            observation: uuid::Uuid::now_v7().to_string(),
            campaign: uuid::Uuid::now_v7().to_string(),
            purchase: uuid::Uuid::now_v7().to_string(),
            audit_event: uuid::Uuid::now_v7().to_string(),
            campaign_event: uuid::Uuid::now_v7().to_string(),
            interest_event: uuid::Uuid::now_v7().to_string(),
            text: "text".to_owned(),
            request_id: String::new(),
        }
    }
}

impl About {
    /// Returns the id of the resource that a field of the contract names.
    pub(crate) fn id(&self, field: &str) -> &str {
        match field {
            "customer" => &self.customer,
            "conversation" => &self.conversation,
            "pending_question" => &self.question,
            "customer_faq" => &self.faq,
            "campaign" => &self.campaign,
            other => panic!("{other} has no sample yet"),
        }
    }
}

/// Returns a valid request. An RPC without a sample here fails the tests that go through all RPCs.
pub(crate) fn request(rpc: &MethodDescriptor, about: &About) -> DynamicMessage {
    let bytes = match rpc.parent_service().name() {
        "CustomerService" => of_customers(rpc.name(), about.clone()),
        "ConversationService" => of_conversations(rpc.name(), about.clone()),
        "PendingQuestionService" => of_questions(rpc.name(), about.clone()),
        "CustomerFaqService" => of_faqs(rpc.name(), about.clone()),
        "CampaignService" => of_campaigns(rpc.name(), about.clone()),
        "EngagementService" => of_engagement(rpc.name(), about.clone()),
        "AuditService" => of_audit(rpc.name(), about.clone()),
        "DashboardService" => of_dashboard(rpc.name()),
        service => panic!("{service} has no samples yet"),
    };
    DynamicMessage::decode(rpc.input(), bytes.as_slice()).expect("a request of this RPC")
}

fn of_customers(rpc: &str, about: About) -> Vec<u8> {
    let About { customer: id, slug, text, request_id, .. } = about;
    match rpc {
        "CreateCustomer" => {
            let customer = Some(pb::Customer { business_name: text, ..Default::default() });
            pb::CreateCustomerRequest { customer, request_id }.encode_to_vec()
        }
        "GetCustomer" => pb::GetCustomerRequest { id, ..Default::default() }.encode_to_vec(),
        "GetCustomerBySlug" => pb::GetCustomerBySlugRequest { slug, ..Default::default() }.encode_to_vec(),
        "ListConsents" => pb::ListConsentsRequest { customer_id: id, ..Default::default() }.encode_to_vec(),
        "ListCustomers" => pb::ListCustomersRequest { owner: text, ..Default::default() }.encode_to_vec(),
        "UpdateCustomer" => {
            let customer = Some(pb::Customer { id, city: text, ..Default::default() });
            pb::UpdateCustomerRequest { customer, update_mask: None, request_id }.encode_to_vec()
        }
        "DeleteCustomer" => pb::DeleteCustomerRequest { id, etag: String::new(), request_id }.encode_to_vec(),
        "UndeleteCustomer" => {
            pb::UndeleteCustomerRequest { id, etag: String::new(), request_id }.encode_to_vec()
        }
        "UpdateBusinessContext" => {
            let context = pb::BusinessContext { description: text, ..Default::default() };
            let business_context = Some(context);
            pb::UpdateBusinessContextRequest {
                customer_id: id,
                business_context,
                request_id,
                ..Default::default()
            }
            .encode_to_vec()
        }
        "UpdateBrandVoice" => {
            let brand_voice = Some(pb::BrandVoice { tone: text, ..Default::default() });
            pb::UpdateBrandVoiceRequest { customer_id: id, brand_voice, request_id, ..Default::default() }
                .encode_to_vec()
        }
        "UpdateContentPreferences" => {
            let content_preferences = Some(pb::ContentPreferences { frequency: text, ..Default::default() });
            pb::UpdateContentPreferencesRequest {
                customer_id: id,
                content_preferences,
                request_id,
                ..Default::default()
            }
            .encode_to_vec()
        }
        "AddCustomerTags" => {
            pb::AddCustomerTagsRequest { customer_id: id, tags: vec![text], request_id }.encode_to_vec()
        }
        "RemoveCustomerTags" => {
            pb::RemoveCustomerTagsRequest { customer_id: id, tags: vec![text], request_id }.encode_to_vec()
        }
        "GetAiContext" => {
            pb::GetAiContextRequest { customer_id: id, query: text, ..Default::default() }.encode_to_vec()
        }
        rpc => panic!("{rpc} has no sample yet"),
    }
}

fn of_conversations(rpc: &str, about: About) -> Vec<u8> {
    let About { customer: customer_id, conversation: id, message, analysis, text, request_id, .. } = about;
    let conversation_id = id.clone();
    let new_message = pb::Message {
        message_key: text.clone(),
        role: pb::MessageRole::User.into(),
        content: text.clone(),
        ..Default::default()
    };
    match rpc {
        "CreateConversation" => {
            let conversation = pb::Conversation { customer_id, session_id: text, ..Default::default() };
            let conversation = Some(conversation);
            pb::CreateConversationRequest { conversation, request_id, reuse_open: false }.encode_to_vec()
        }
        "GetConversation" => pb::GetConversationRequest { id, ..Default::default() }.encode_to_vec(),
        "ListConversations" => {
            pb::ListConversationsRequest { customer_id, ..Default::default() }.encode_to_vec()
        }
        "UpdateConversation" => {
            let conversation = Some(pb::Conversation { id, outcome_notes: text, ..Default::default() });
            pb::UpdateConversationRequest { conversation, update_mask: None, request_id }.encode_to_vec()
        }
        "EndConversation" => {
            pb::EndConversationRequest { id, outcome_notes: text, request_id, ..Default::default() }
                .encode_to_vec()
        }
        "ReopenConversation" => {
            pb::ReopenConversationRequest { id, etag: String::new(), request_id }.encode_to_vec()
        }
        "AddMessage" => {
            let action = Some(pb::add_message_request::Command::Message(new_message));
            pb::AddMessageRequest { conversation_id, command: action }.encode_to_vec()
        }
        "CreateMessage" => {
            pb::CreateMessageRequest { conversation_id, message: Some(new_message), request_id }
                .encode_to_vec()
        }
        "GetMessage" => {
            let name = Some(pb::get_message_request::Name::Id(message));
            pb::GetMessageRequest { conversation_id, name, ..Default::default() }.encode_to_vec()
        }
        "ListMessages" => pb::ListMessagesRequest { conversation_id, ..Default::default() }.encode_to_vec(),
        "WatchConversation" => {
            pb::WatchConversationRequest { conversation_id, ..Default::default() }.encode_to_vec()
        }
        "RecordAnalysis" => {
            let analysis = pb::ConversationAnalysis { conversation_id, summary: text, ..Default::default() };
            pb::RecordAnalysisRequest { analysis: Some(analysis), request_id }.encode_to_vec()
        }
        "GetConversationAnalysis" => {
            pb::GetConversationAnalysisRequest { conversation_id, id: analysis }.encode_to_vec()
        }
        "ListConversationAnalyses" => {
            pb::ListConversationAnalysesRequest { conversation_id, ..Default::default() }.encode_to_vec()
        }
        rpc => panic!("{rpc} has no sample yet"),
    }
}

fn of_questions(rpc: &str, about: About) -> Vec<u8> {
    let About { customer: customer_id, question: id, text, request_id, .. } = about;
    let etag = String::new();
    match rpc {
        "CreatePendingQuestion" => {
            let question = pb::PendingQuestion { customer_id, question: text, ..Default::default() };
            pb::CreatePendingQuestionRequest { pending_question: Some(question), request_id }.encode_to_vec()
        }
        "GetPendingQuestion" => pb::GetPendingQuestionRequest { id }.encode_to_vec(),
        "ListPendingQuestions" => {
            pb::ListPendingQuestionsRequest { customer_id, ..Default::default() }.encode_to_vec()
        }
        "UpdatePendingQuestion" => {
            let pending_question = Some(pb::PendingQuestion { id, purpose: text, ..Default::default() });
            pb::UpdatePendingQuestionRequest { pending_question, update_mask: None, request_id }
                .encode_to_vec()
        }
        "DeletePendingQuestion" => pb::DeletePendingQuestionRequest { id, etag, request_id }.encode_to_vec(),
        "NextPendingQuestions" => {
            pb::NextPendingQuestionsRequest { customer_id, query: text, ..Default::default() }.encode_to_vec()
        }
        "MarkPendingQuestionAsked" => {
            pb::MarkPendingQuestionAskedRequest { id, request_id, ..Default::default() }.encode_to_vec()
        }
        "MarkPendingQuestionAnswered" => {
            pb::MarkPendingQuestionAnsweredRequest { id, answer: text, request_id, ..Default::default() }
                .encode_to_vec()
        }
        "MarkPendingQuestionVerified" => {
            pb::MarkPendingQuestionVerifiedRequest { id, verified_by: text, etag, request_id }.encode_to_vec()
        }
        "SkipPendingQuestion" => {
            pb::SkipPendingQuestionRequest { id, declined: false, reason: text, etag, request_id }
                .encode_to_vec()
        }
        rpc => panic!("{rpc} has no sample yet"),
    }
}

fn of_faqs(rpc: &str, about: About) -> Vec<u8> {
    let About { customer: customer_id, faq: id, observation, text, request_id, .. } = about;
    match rpc {
        "CreateCustomerFaq" => {
            let faq = pb::CustomerFaq { customer_id, question: text, ..Default::default() };
            pb::CreateCustomerFaqRequest { customer_faq: Some(faq), request_id }.encode_to_vec()
        }
        "GetCustomerFaq" => pb::GetCustomerFaqRequest { id }.encode_to_vec(),
        "GetFaqObservation" => pb::GetFaqObservationRequest { id: observation }.encode_to_vec(),
        "ListFaqObservations" => {
            pb::ListFaqObservationsRequest { customer_faq_id: id, ..Default::default() }.encode_to_vec()
        }
        "ListCustomerFaqs" => {
            pb::ListCustomerFaqsRequest { customer_id, ..Default::default() }.encode_to_vec()
        }
        "SearchCustomerFaqs" => {
            pb::SearchCustomerFaqsRequest { customer_id, query: text, ..Default::default() }.encode_to_vec()
        }
        "UpdateCustomerFaq" => {
            let customer_faq = Some(pb::CustomerFaq { id, answer: text, ..Default::default() });
            pb::UpdateCustomerFaqRequest { customer_faq, update_mask: None, request_id }.encode_to_vec()
        }
        "DeleteCustomerFaq" => {
            pb::DeleteCustomerFaqRequest { id, etag: String::new(), request_id }.encode_to_vec()
        }
        "MarkCustomerFaqVerified" => pb::MarkCustomerFaqVerifiedRequest {
            id,
            verification_status: pb::FaqVerificationStatus::HumanVerified.into(),
            verified_by: text.clone(),
            answer: text,
            request_id,
            ..Default::default()
        }
        .encode_to_vec(),
        "RecordFaqObservation" => {
            let observation = Some(pb::FaqObservation { question: text, ..Default::default() });
            pb::RecordFaqObservationRequest { customer_id, observation, request_id }.encode_to_vec()
        }
        rpc => panic!("{rpc} has no sample yet"),
    }
}

fn of_campaigns(rpc: &str, about: About) -> Vec<u8> {
    let About { customer: customer_id, campaign: campaign_id, campaign_event, text, request_id, .. } = about;
    let id = campaign_id.clone();
    match rpc {
        "CreateCampaign" => {
            let campaign = Some(pb::Campaign { name: text, ..Default::default() });
            pb::CreateCampaignRequest { campaign, request_id }.encode_to_vec()
        }
        "GetCampaign" => pb::GetCampaignRequest { id }.encode_to_vec(),
        "ListCampaigns" => {
            let statuses = vec![pb::CampaignStatus::Active.into()];
            pb::ListCampaignsRequest { statuses, ..Default::default() }.encode_to_vec()
        }
        "UpdateCampaign" => {
            let campaign = Some(pb::Campaign { id, goal: text, ..Default::default() });
            pb::UpdateCampaignRequest { campaign, update_mask: None, request_id }.encode_to_vec()
        }
        "DeleteCampaign" => pb::DeleteCampaignRequest { id, etag: String::new(), request_id }.encode_to_vec(),
        "AssignCustomers" => {
            let ids = pb::CustomerIds { customer_ids: vec![customer_id] };
            let customers = Some(pb::assign_customers_request::Customers::Ids(ids));
            pb::AssignCustomersRequest { campaign_id, customers, request_id }.encode_to_vec()
        }
        "UnassignCustomers" => {
            let customer_ids = vec![customer_id];
            pb::UnassignCustomersRequest { campaign_id, customer_ids, request_id }.encode_to_vec()
        }
        "ListCampaignCustomers" => {
            pb::ListCampaignCustomersRequest { campaign_id, ..Default::default() }.encode_to_vec()
        }
        "RecordCampaignEvents" => {
            let event = pb::CampaignEvent {
                event_id: text,
                customer_id,
                kind: pb::CampaignEventKind::Sent.into(),
                ..Default::default()
            };
            pb::RecordCampaignEventsRequest { campaign_id, events: vec![event], request_id }.encode_to_vec()
        }
        "GetCampaignEvent" => pb::GetCampaignEventRequest { id: campaign_event }.encode_to_vec(),
        "ListCampaignEvents" => {
            pb::ListCampaignEventsRequest { campaign_id, ..Default::default() }.encode_to_vec()
        }
        "GetCampaignPerformance" => {
            pb::GetCampaignPerformanceRequest { campaign_id, ..Default::default() }.encode_to_vec()
        }
        rpc => panic!("{rpc} has no sample yet"),
    }
}

fn of_engagement(rpc: &str, about: About) -> Vec<u8> {
    let About { customer: customer_id, purchase: id, interest_event, text, request_id, .. } = about;
    match rpc {
        "RecordInterestEvents" => {
            let kind = pb::InterestKind::Viewed.into();
            let event =
                pb::InterestEvent { event_id: text.clone(), kind, subject: text, ..Default::default() };
            pb::RecordInterestEventsRequest { customer_id, events: vec![event], request_id }.encode_to_vec()
        }
        "ListInterestEvents" => {
            pb::ListInterestEventsRequest { customer_id, ..Default::default() }.encode_to_vec()
        }
        "GetInterestEvent" => pb::GetInterestEventRequest { id: interest_event }.encode_to_vec(),
        "GetInterestScores" => {
            pb::GetInterestScoresRequest { customer_id, ..Default::default() }.encode_to_vec()
        }
        "RecordPurchase" => {
            let amount = Some(pb::Money { currency_code: "EUR".to_owned(), units: 1, nanos: 0 });
            let items = vec![pb::PurchaseItem { name: text, ..Default::default() }];
            let purchase = Some(pb::Purchase { customer_id, amount, items, ..Default::default() });
            pb::RecordPurchaseRequest { purchase, request_id }.encode_to_vec()
        }
        "GetPurchase" => pb::GetPurchaseRequest { id }.encode_to_vec(),
        "SettlePurchase" => {
            let status = pb::PurchaseStatus::Paid.into();
            pb::SettlePurchaseRequest { id, status, request_id, ..Default::default() }.encode_to_vec()
        }
        "VoidPurchase" => {
            pb::VoidPurchaseRequest { id, reason: text, request_id, ..Default::default() }.encode_to_vec()
        }
        "ListRefunds" => pb::ListRefundsRequest { purchase_id: id, ..Default::default() }.encode_to_vec(),
        "ListPurchases" => pb::ListPurchasesRequest { customer_id, ..Default::default() }.encode_to_vec(),
        "RefundPurchase" => {
            pb::RefundPurchaseRequest { id, reason: text, request_id, ..Default::default() }.encode_to_vec()
        }
        rpc => panic!("{rpc} has no sample yet"),
    }
}

fn of_audit(rpc: &str, about: About) -> Vec<u8> {
    match rpc {
        "GetAuditEvent" => pb::GetAuditEventRequest { id: about.audit_event }.encode_to_vec(),
        "ListAuditEvents" => {
            pb::ListAuditEventsRequest { principal: about.text, ..Default::default() }.encode_to_vec()
        }
        rpc => panic!("{rpc} has no sample yet"),
    }
}

fn of_dashboard(rpc: &str) -> Vec<u8> {
    match rpc {
        "GetCustomerStatistics" => pb::GetCustomerStatisticsRequest::default().encode_to_vec(),
        "GetConversationStatistics" => pb::GetConversationStatisticsRequest::default().encode_to_vec(),
        "GetCampaignStatistics" => pb::GetCampaignStatisticsRequest::default().encode_to_vec(),
        "GetConversionFunnel" => pb::GetConversionFunnelRequest::default().encode_to_vec(),
        rpc => panic!("{rpc} has no sample yet"),
    }
}

/// Returns an analysis of a whole conversation.
pub(crate) fn analysis(conversation_id: &str) -> pb::ConversationAnalysis {
    pb::ConversationAnalysis {
        conversation_id: conversation_id.to_owned(),
        summary: "They talked.".to_owned(),
        ..Default::default()
    }
}

/// Returns a request for all rows of a list; only the parent is set if the list needs one.
pub(crate) fn whole_list(rpc: &MethodDescriptor, about: &About) -> DynamicMessage {
    let mut request = DynamicMessage::new(rpc.input());
    let of = match rpc.name() {
        "ListMessages" | "ListConversationAnalyses" => Some(("conversation_id", &about.conversation)),
        "ListCampaignCustomers" => Some(("campaign_id", &about.campaign)),
        "ListRefunds" => Some(("purchase_id", &about.purchase)),
        "ListFaqObservations" => Some(("customer_faq_id", &about.faq)),
        _ => None,
    };
    if let Some((name, id)) = of {
        request.set_field_by_name(name, prost_reflect::Value::String(id.clone()));
    }
    request
}
