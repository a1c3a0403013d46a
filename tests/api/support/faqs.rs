//! Helpers for FAQs.

use crm_backend::pb::{
    Conversation, CreateCustomerFaqRequest, CustomerFaq, CustomerFaqMatch, DeleteCustomerFaqRequest,
    FaqObservation, FaqStatus, FaqVerificationStatus, GetCustomerFaqRequest, ListCustomerFaqsRequest,
    ListCustomerFaqsResponse, ListFaqObservationsRequest, ListFaqObservationsResponse,
    MarkCustomerFaqVerifiedRequest, Message, RecordFaqObservationRequest, SearchCustomerFaqsRequest,
    UpdateCustomerFaqRequest,
};
use crm_testkit::Sql;
use tonic::Status;

use super::Tenant;
use super::customers::mask;

/// Returns a FAQ, to be created.
pub(crate) fn question(customer_id: &str, question: &str, answer: &str) -> CustomerFaq {
    CustomerFaq {
        customer_id: customer_id.to_owned(),
        question: question.to_owned(),
        answer: answer.to_owned(),
        ..Default::default()
    }
}

/// Returns an observation that a question was asked.
pub(crate) fn asked(customer_id: &str, question: &str, answer: &str) -> RecordFaqObservationRequest {
    observed(
        customer_id,
        FaqObservation { question: question.to_owned(), answer: answer.to_owned(), ..Default::default() },
    )
}

/// Returns an observation, to be recorded.
pub(crate) fn observed(customer_id: &str, observation: FaqObservation) -> RecordFaqObservationRequest {
    RecordFaqObservationRequest {
        customer_id: customer_id.to_owned(),
        observation: Some(observation),
        request_id: String::new(),
    }
}

/// The same request with another observation.
pub(crate) fn with(
    mut request: RecordFaqObservationRequest,
    change: impl FnOnce(&mut FaqObservation),
) -> RecordFaqObservationRequest {
    change(request.observation.as_mut().expect("an observation"));
    request
}

/// Returns an observation that a question was asked with a message.
pub(crate) fn about_message(
    talk: &Conversation,
    message: &Message,
    question: &str,
    answer: &str,
) -> RecordFaqObservationRequest {
    with(asked(&talk.customer_id, question, answer), |observation| {
        observation.conversation_id.clone_from(&talk.id);
        observation.message_id.clone_from(&message.id);
    })
}

/// Returns a search.
pub(crate) fn query(customer_id: &str, query: &str) -> SearchCustomerFaqsRequest {
    SearchCustomerFaqsRequest {
        customer_id: customer_id.to_owned(),
        query: query.to_owned(),
        ..Default::default()
    }
}

/// Returns the result of a verification.
pub(crate) fn checked(
    faq: &CustomerFaq,
    verification: FaqVerificationStatus,
) -> MarkCustomerFaqVerifiedRequest {
    MarkCustomerFaqVerifiedRequest {
        id: faq.id.clone(),
        verification_status: verification.into(),
        verified_by: "ana".to_owned(),
        ..Default::default()
    }
}

/// Returns the FAQ with a status.
pub(crate) fn as_status(faq: &CustomerFaq, status: FaqStatus) -> CustomerFaq {
    CustomerFaq { id: faq.id.clone(), status: status.into(), ..Default::default() }
}

/// Returns the questions of search results, in order.
pub(crate) fn questions(matches: &[CustomerFaqMatch]) -> Vec<&str> {
    matches.iter().map(|found| found.customer_faq.as_ref().expect("a FAQ").question.as_str()).collect()
}

/// Adds `copies` of every FAQ of a customer with its words: with another id and question, each a
/// millisecond younger.
pub(crate) async fn multiply_faqs(sql: &Sql, customer_id: &str, copies: u32) {
    multiply(sql, &format!("f.customer_id = '{customer_id}'"), copies).await;
}

/// The same for the FAQs with this question.
pub(crate) async fn multiply_faq(sql: &Sql, question: &str, copies: u32) {
    multiply(sql, &format!("f.question = '{question}'"), copies).await;
}

async fn multiply(sql: &Sql, which: &str, copies: u32) {
    sql.run(&format!(
        "CREATE TEMP TABLE made AS SELECT f.id AS old, gen_random_uuid() AS new, n
         FROM customer_faqs f, generate_series(1, {copies}) n WHERE {which};
         INSERT INTO customer_faqs SELECT copy.* FROM made m JOIN customer_faqs f ON f.id = m.old,
         LATERAL jsonb_populate_record(f, jsonb_build_object(
             'id', m.new, 'normalized_question', f.normalized_question || ' ' || m.n,
             'created_at', f.created_at + m.n * interval '1 ms',
             'active_at', f.active_at + m.n * interval '1 ms')) copy;
         INSERT INTO customer_faq_terms SELECT copy.* FROM made m JOIN customer_faq_terms t ON t.faq_id = m.old,
         LATERAL jsonb_populate_record(t, jsonb_build_object('faq_id', m.new,
             'place', ((t.place >> 21) << 21) | (('x' || right(m.new::text, 6))::bit(24)::int & 2097151))) copy;
         DROP TABLE made"
    ))
    .await;
}

impl Tenant {
    /// Creates a FAQ.
    pub(crate) async fn faq(&self, customer_id: &str, asked: &str, answer: &str) -> CustomerFaq {
        self.create_faq(question(customer_id, asked, answer)).await.expect("a FAQ")
    }

    pub(crate) async fn create_faq(&self, faq: CustomerFaq) -> Result<CustomerFaq, Status> {
        let request = CreateCustomerFaqRequest { customer_faq: Some(faq), request_id: String::new() };
        let response = self.faqs().create_customer_faq(request).await?.into_inner();
        Ok(response.customer_faq.expect("the FAQ"))
    }

    pub(crate) async fn read_faq(&self, id: &str) -> Result<CustomerFaq, Status> {
        let request = GetCustomerFaqRequest { id: id.to_owned() };
        let response = self.faqs().get_customer_faq(request).await?.into_inner();
        Ok(response.customer_faq.expect("the FAQ"))
    }

    pub(crate) async fn observation_page(
        &self,
        request: ListFaqObservationsRequest,
    ) -> Result<ListFaqObservationsResponse, Status> {
        Ok(self.faqs().list_faq_observations(request).await?.into_inner())
    }

    /// Returns all observations of a FAQ, the newest first, and the size of each page.
    pub(crate) async fn all_observations(
        &self,
        id: &str,
        page_size: i32,
    ) -> (Vec<FaqObservation>, Vec<usize>) {
        let mut request =
            ListFaqObservationsRequest { customer_faq_id: id.to_owned(), page_size, ..Default::default() };
        let (mut observations, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = self.observation_page(request.clone()).await.expect("a page");
            sizes.push(page.observations.len());
            observations.extend(page.observations);
            if page.next_page_token.is_empty() {
                return (observations, sizes);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn faq_page(
        &self,
        request: ListCustomerFaqsRequest,
    ) -> Result<ListCustomerFaqsResponse, Status> {
        Ok(self.faqs().list_customer_faqs(request).await?.into_inner())
    }

    /// Returns all pages of a list.
    pub(crate) async fn all_faqs(&self, mut request: ListCustomerFaqsRequest) -> Vec<CustomerFaq> {
        let mut faqs = Vec::new();
        loop {
            let page = self.faq_page(request.clone()).await.expect("a page");
            faqs.extend(page.customer_faqs);
            if page.next_page_token.is_empty() {
                return faqs;
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(crate) async fn search_faqs(
        &self,
        request: SearchCustomerFaqsRequest,
    ) -> Result<Vec<CustomerFaqMatch>, Status> {
        Ok(self.faqs().search_customer_faqs(request).await?.into_inner().matches)
    }

    /// Changes the fields of a FAQ that `paths` names; without paths, the fields that are set.
    pub(crate) async fn revise_faq(
        &self,
        wanted: CustomerFaq,
        paths: &[&str],
    ) -> Result<CustomerFaq, Status> {
        let update_mask = (!paths.is_empty()).then(|| mask(paths));
        let request =
            UpdateCustomerFaqRequest { customer_faq: Some(wanted), update_mask, ..Default::default() };
        let response = self.faqs().update_customer_faq(request).await?.into_inner();
        Ok(response.customer_faq.expect("the FAQ"))
    }

    pub(crate) async fn delete_faq(&self, id: &str, etag: &str) -> Result<CustomerFaq, Status> {
        let request =
            DeleteCustomerFaqRequest { id: id.to_owned(), etag: etag.to_owned(), ..Default::default() };
        let response = self.faqs().delete_customer_faq(request).await?.into_inner();
        Ok(response.customer_faq.expect("the FAQ"))
    }

    pub(crate) async fn check_faq(
        &self,
        request: MarkCustomerFaqVerifiedRequest,
    ) -> Result<CustomerFaq, Status> {
        let response = self.faqs().mark_customer_faq_verified(request).await?.into_inner();
        Ok(response.customer_faq.expect("the FAQ"))
    }

    /// Records an observation. Returns the FAQ, and whether it existed before.
    pub(crate) async fn observe(
        &self,
        request: RecordFaqObservationRequest,
    ) -> Result<(CustomerFaq, bool), Status> {
        let response = self.faqs().record_faq_observation(request).await?.into_inner();
        Ok((response.customer_faq.expect("the FAQ"), response.deduplicated))
    }
}
