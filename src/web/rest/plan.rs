//! How the parts of a request become the message of an RPC: its body, its query, its headers and its path. Of two values
//! for a field, the later part in this order wins.

use percent_encoding::percent_decode_str;
use prost_reflect::{Kind, MessageDescriptor};
use tonic::Status;

use crate::error::Result as Made;
use crate::web::json::read::{self, Read};
use crate::web::json::{Report, texts};
use crate::web::lazy::Make;
use crate::web::routes::{Found, RequestBody, Route};

/// The field of a request with the paths of what changes.
const MASK: &str = "update_mask";

/// A field that an update has beside what it changes: the state that it expects.
const ETAG: &str = "etag";

/// See the module.
pub(super) struct Plan {
    found: Found,
    input: MessageDescriptor,
    query: String,
    headers: Vec<(String, String)>,
    wrong: Vec<(&'static str, &'static str)>,
}

impl Plan {
    pub(super) fn new(
        found: Found,
        input: MessageDescriptor,
        query: String,
        headers: Vec<(String, String)>,
        wrong: Vec<(&'static str, &'static str)>,
    ) -> Self {
        Self { found, input, query, headers, wrong }
    }

    /// The route of the request.
    pub(super) fn route(&self) -> &'static Route {
        self.found.route
    }

    /// Writes what the body has. Returns the fields that an update changes, if its mask is the fields that were sent.
    fn put_body(&self, out: &mut Vec<u8>, body: &[u8], report: &mut Report) -> Made<Vec<String>> {
        match self.route().body {
            RequestBody::None => {
                if !matches!(body, b"" | b"{}") {
                    let description = "must be empty: the fields of this request are in the query";
                    report.add_named("body", "http.body", description);
                }
                Ok(Vec::new())
            }
            _ if body.is_empty() => Ok(Vec::new()),
            RequestBody::Whole => {
                out.extend_from_slice(&read::read(&self.input, "", body, report)?.bytes);
                Ok(Vec::new())
            }
            RequestBody::Field(name) => {
                let Some(field) = self.input.get_field_by_name(name) else { return Ok(Vec::new()) };
                let Kind::Message(inner) = field.kind() else { return Ok(Vec::new()) };
                let Read { bytes, sent } = read::read(&inner, name, body, report)?;
                texts::put_message(out, &field, &bytes);
                Ok(if self.input.get_field_by_name(MASK).is_some() {
                    self.changed(name, sent)
                } else {
                    Vec::new()
                })
            }
        }
    }

    /// Returns the fields of the resource `name` that were sent to change them: not those that say which it is.
    fn changed(&self, name: &str, mut sent: Vec<String>) -> Vec<String> {
        let is_in_path = |sent: &str| {
            let mut fields = self.found.fields.iter();
            fields.any(|(field, _)| {
                field.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) == Some(sent)
            })
        };
        sent.retain(|path| path != ETAG && !is_in_path(path));
        sent
    }

    /// Writes what the query has. Returns whether that has a mask.
    fn put_query(&self, out: &mut Vec<u8>, report: &mut Report) -> bool {
        let (mut seen, mut has_mask) = (Vec::<String>::new(), false);
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                report.add_named("query", "http.query", "is not UTF-8");
                continue;
            };
            has_mask |= matches!(name.as_str(), MASK | "updateMask");
            let before = seen.iter().filter(|other| **other == name).count();
            if before > 0 && !texts::is_list(&self.input, &name) {
                report.add_named(name.clone(), "http.query", "is given twice");
            }
            texts::put(out, &self.input, &name, (before, &value), report);
            seen.push(name);
        }
        has_mask
    }
}

/// The error has all that is wrong with the parts: `REQUEST_MALFORMED` if the body is not JSON, else `FIELD_INVALID`.
impl Make for Plan {
    fn message(&self, body: &[u8]) -> Result<Vec<u8>, Status> {
        let mut report = Report::default();
        for (header, description) in &self.wrong {
            report.add_named(*header, "http.header", *description);
        }
        let mut out = Vec::new();
        let sent = self.put_body(&mut out, body.trim_ascii(), &mut report)?;
        let has_mask = self.put_query(&mut out, &mut report);
        if !sent.is_empty() && !has_mask {
            texts::put(&mut out, &self.input, MASK, (0, &sent.join(",")), &mut report);
        }
        let path = self.found.fields.iter().map(|(field, value)| (*field, value.as_str()));
        let headers = self.headers.iter().map(|(field, value)| (field.as_str(), value.as_str()));
        for (field, value) in headers.chain(path) {
            texts::put(&mut out, &self.input, field, (0, value), &mut report);
        }
        report.verdict()?;
        Ok(out)
    }
}

/// Returns the text of a part of a query; `None` if it is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
