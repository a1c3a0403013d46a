//! What an error says.

use tonic::{Code, Status};
use tonic_types::{ErrorDetail, StatusExt};

/// Reads errors.
pub(crate) trait Refusal {
    /// The reason that a program reads, of this service's domain.
    fn reason(&self) -> String;

    /// The paths of the fields that are wrong.
    fn fields(&self) -> Vec<String>;

    /// Holds the error to a code and a reason.
    fn is(&self, code: Code, reason: &str) -> &Self;

    /// Holds the error to INVALID_ARGUMENT because of exactly these fields.
    fn is_invalid(&self, fields: &[&str]) -> &Self;

    /// Code, message and details but for the id of the request, with `from` written as `to`.
    fn seen(&self, from: &str, to: &str) -> String;
}

impl Refusal for Status {
    #[track_caller]
    fn reason(&self) -> String {
        let details = self.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {self:?}"));
        assert_eq!(info.domain, "crm.v1", "{self:?}");
        info.reason.clone()
    }

    fn fields(&self) -> Vec<String> {
        let details = self.get_error_details();
        let violations = details.bad_request().map_or(&[][..], |request| &request.field_violations);
        violations.iter().map(|violation| violation.field.clone()).collect()
    }

    #[track_caller]
    fn is(&self, code: Code, reason: &str) -> &Self {
        assert_eq!((self.code(), self.reason()), (code, reason.to_owned()), "{self:?}");
        assert!(!self.message().is_empty(), "an error says what to do");
        self
    }

    #[track_caller]
    fn is_invalid(&self, fields: &[&str]) -> &Self {
        self.is(Code::InvalidArgument, "FIELD_INVALID");
        assert_eq!(self.fields(), fields, "{self:?}");
        self
    }

    fn seen(&self, from: &str, to: &str) -> String {
        let details = self.get_error_details_vec();
        let kept: Vec<_> =
            details.iter().filter(|detail| !matches!(detail, ErrorDetail::RequestInfo(_))).collect();
        format!("{:?} {:?} {kept:?}", self.code(), self.message()).replace(from, to)
    }
}
