//! Checks of errors: what they must say, and what they must not reveal.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use tonic::{Code, Status};
use tonic_types::{ErrorDetail, StatusExt};

use super::raw::CONTRACT;

/// Reads errors.
pub(crate) trait Refusal {
    /// Returns the reason for programs, in this service's domain.
    fn reason(&self) -> String;

    /// Returns the paths of the invalid fields.
    fn fields(&self) -> Vec<String>;

    /// Expects this code and this reason.
    fn is(&self, code: Code, reason: &str) -> &Self;

    /// Expects INVALID_ARGUMENT because of exactly these fields.
    fn is_invalid(&self, fields: &[&str]) -> &Self;

    /// Returns code, message and details without the id of the request, with `from` replaced by
    /// `to`.
    fn seen(&self, from: &str, to: &str) -> String;
}

impl Refusal for Status {
    #[track_caller]
    fn reason(&self) -> String {
        tells_no_secret(self);
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
        tells_no_secret(self);
        let details = self.get_error_details_vec();
        let kept: Vec<_> =
            details.iter().filter(|detail| !matches!(detail, ErrorDetail::RequestInfo(_))).collect();
        format!("{:?} {:?} {kept:?}", self.code(), self.message()).replace(from, to)
    }
}

/// Texts that only Postgres, or the code that talks to it, would use.
static SECRET: LazyLock<Regex> = LazyLock::new(|| {
    let names = tables_and_columns().into_iter().collect::<Vec<_>>().join("|");
    let pattern = format!(
        r"(?i)\b(SELECT .* FROM|INSERT INTO|UPDATE .* SET|DELETE FROM|SQLSTATE|violates|relation|constraint|
          syntax error|row-level|pg_\w+|crm_app|diesel|tokio_postgres|panicked|{names})\b"
    );
    Regex::new(&pattern.replace("\n          ", "")).expect("a pattern")
});

/// Returns the tables and columns of the schema whose names are not in the contract.
fn tables_and_columns() -> BTreeSet<String> {
    let schema = include_str!("../../../src/db/schema.rs");
    let declared = Regex::new(r"(?m)^ +(\w+) (?:\(|-> )").expect("a pattern");
    let messages = CONTRACT.all_messages().collect::<Vec<_>>();
    let fields = messages.iter().flat_map(|message| message.fields().collect::<Vec<_>>());
    let public: BTreeSet<String> = fields.map(|field| field.name().to_owned()).collect();
    let names = declared.captures_iter(schema).map(|name| name[1].to_owned());
    // A name of one word is also an ordinary word.
    let names: BTreeSet<_> = names.filter(|name| name.contains('_') && !public.contains(name)).collect();
    assert!(names.contains("conversation_messages") && names.contains("created_at"), "{names:?}");
    names
}

/// Checks that an error reveals nothing about how the service stores its data.
#[track_caller]
pub(crate) fn tells_no_secret(error: &Status) {
    let said = format!("{} {:?}", error.message(), error.get_error_details_vec());
    let secret = SECRET.find(&said).map(|found| found.as_str());
    assert_eq!(secret, None, "{said}");
}
