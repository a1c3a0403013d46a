//! The clients of a tool, and what their calls pass on.

use std::time::Instant;

use http::{Extensions, HeaderMap, HeaderName, header};
use tonic::body::Body;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use super::trouble::Trouble;
use crate::identity::TENANT_HEADER;
use crate::pb;
use crate::pb::conversation_service_client::ConversationServiceClient;
use crate::pb::customer_faq_service_client::CustomerFaqServiceClient;
use crate::pb::customer_service_client::CustomerServiceClient;
use crate::pb::pending_question_service_client::PendingQuestionServiceClient;

/// The headers of an agent's request that its calls have too: who calls, for which tenant, within which trace, and
/// how old what is read may be. All others are about the request itself.
const PASSED: [HeaderName; 6] = [
    header::AUTHORIZATION,
    HeaderName::from_static(TENANT_HEADER),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-max-staleness-ms"),
    HeaderName::from_static("x-read-position"),
];

/// The length of a UUID with hyphens. A slug of this form is taken as an id.
const HYPHENATED: usize = 36;

/// The service of gRPC that is called: that of this process, or one behind a connection.
#[derive(Clone)]
pub struct Calls(Boxed);

type Boxed = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Unanswered>;

/// Why a service gave no answer. Its source is the error of the connection.
#[derive(Debug, thiserror::Error)]
#[error("the service did not answer")]
pub(super) struct Unanswered(#[source] BoxError);

impl Calls {
    /// Calls this service.
    pub fn over<S>(service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        Self(BoxCloneSyncService::new(service.map_err(|error| Unanswered(error.into()))))
    }

    /// Returns the clients of a caller.
    pub(super) fn of(&self, passed: Passed) -> Clients {
        Clients { calls: self.clone(), passed }
    }

    /// Sends a request that is not gRPC.
    pub(super) async fn send(
        &self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Unanswered> {
        self.0.clone().oneshot(request).await
    }
}

/// What the calls of an agent have in common.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    headers: HeaderMap,
    extensions: Extensions,
    until: Instant,
}

impl Passed {
    /// Takes what is passed on from an agent's request. Its calls end at the same time as the request.
    pub(super) fn of(headers: &HeaderMap, extensions: Extensions, until: Instant) -> Self {
        let mut passed = HeaderMap::new();
        for name in &PASSED {
            for value in headers.get_all(name) {
                passed.append(name, value.clone());
            }
        }
        Self { headers: passed, extensions, until }
    }
}

impl Interceptor for Passed {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        // Beside what the client itself has set, such as the content type.
        request.metadata_mut().as_mut().extend(self.headers.clone());
        request.extensions_mut().extend(self.extensions.clone());
        request.set_timeout(self.until.saturating_duration_since(Instant::now()));
        Ok(request)
    }
}

/// A connection that names its caller.
type Named = InterceptedService<Boxed, Passed>;

/// The clients of a caller.
pub(super) struct Clients {
    calls: Calls,
    passed: Passed,
}

impl Clients {
    /// Customers and contexts.
    pub(super) fn customers(&self) -> CustomerServiceClient<Named> {
        CustomerServiceClient::with_interceptor(self.calls.0.clone(), self.passed.clone())
    }

    /// Conversations and messages.
    pub(super) fn conversations(&self) -> ConversationServiceClient<Named> {
        ConversationServiceClient::with_interceptor(self.calls.0.clone(), self.passed.clone())
    }

    /// Questions to ask.
    pub(super) fn questions(&self) -> PendingQuestionServiceClient<Named> {
        PendingQuestionServiceClient::with_interceptor(self.calls.0.clone(), self.passed.clone())
    }

    /// FAQs.
    pub(super) fn faqs(&self) -> CustomerFaqServiceClient<Named> {
        CustomerFaqServiceClient::with_interceptor(self.calls.0.clone(), self.passed.clone())
    }

    /// Returns the id of the customer that an agent names by its id or its slug.
    ///
    /// # Errors
    ///
    /// If no customer has the slug.
    pub(super) async fn customer_id(&self, named: &str) -> Result<String, Trouble> {
        if named.len() == HYPHENATED && uuid::Uuid::try_parse(named).is_ok() {
            return Ok(named.to_owned());
        }
        let view = pb::CustomerView::Basic.into();
        let request = pb::GetCustomerBySlugRequest { slug: named.to_owned(), view, ..Default::default() };
        let response = self.customers().get_customer_by_slug(request).await?.into_inner();
        Ok(response.customer.unwrap_or_default().id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_call_has_its_callers_headers_and_no_others() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer key"),
            ("x-tenant-id", "one"),
            ("x-tenant-id", "two"),
            ("traceparent", "00-1-2-01"),
            ("content-length", "7"),
            ("host", "example.com"),
            ("mcp-method", "tools/call"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut extensions = Extensions::new();
        extensions.insert(7_u8);
        let until = Instant::now() + Duration::from_secs(5);
        let mut request = Request::new(());
        request.metadata_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        let request = Passed::of(&headers, extensions, until).call(request).expect("a request");
        let metadata = request.metadata();
        assert_eq!(metadata.get("content-type").expect("what the client set"), "application/grpc");
        assert_eq!(metadata.get("authorization").expect("the credential"), "Bearer key");
        assert_eq!(metadata.get_all("x-tenant-id").iter().count(), 2, "the service refuses two, not this");
        assert!(metadata.contains_key("traceparent") && metadata.contains_key("grpc-timeout"));
        assert_eq!(metadata.len(), 6, "{metadata:?}");
        assert_eq!(request.extensions().get::<u8>(), Some(&7));
    }
}
