//! Pages for people, and the OpenAPI document for programs. Whoever reaches the port may read them: they are the same for
//! all, and have nothing of a tenant.
//!
//! All of it is in the program. The viewer loads nothing from elsewhere, and its policy (`Content-Security-Policy`) lets
//! the browser run nothing else.

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::gzip::{self, GZIP};

/// The OpenAPI document, in gzip.
const DOCUMENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz"));

/// The bytes of a digest that make an `ETag`: enough that no two versions have the same.
const TAG: usize = 12;

/// What a browser lets the viewer do: load what is here, and call what is here. Its images are within its style. Its
/// style is in attributes as well.
const VIEWER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a browser lets the other pages do: nothing but look as they do.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// Whether a browser asks before it shows what it has kept. The document and the pages change with the program.
const ASK: &str = "no-cache";

/// For the files of the viewer, which change with the program too but are large: a browser asks after an hour.
const AN_HOUR: &str = "public, max-age=3600";

/// All pages by their paths.
static PAGES: LazyLock<[Page; 6]> = LazyLock::new(|| {
    let html = "text/html; charset=utf-8";
    let script = "text/javascript; charset=utf-8";
    let gzip = |bytes| Content { bytes, in_gzip: true };
    let plain = |text: &'static str| Content { bytes: text.as_bytes(), in_gzip: false };
    [
        Page::new("/", html, POLICY, ASK, plain(include_str!("pages/start.html"))),
        Page::new("/openapi.json", "application/json", POLICY, ASK, gzip(DOCUMENT)),
        Page::new("/docs", html, VIEWER_POLICY, ASK, plain(include_str!("pages/docs.html"))),
        Page::new("/docs/start.js", script, POLICY, ASK, plain(include_str!("pages/docs.js"))),
        Page::new(
            "/docs/viewer.js",
            script,
            POLICY,
            AN_HOUR,
            gzip(include_bytes!(concat!(env!("OUT_DIR"), "/viewer.js.gz"))),
        ),
        Page::new(
            "/docs/viewer.css",
            "text/css; charset=utf-8",
            POLICY,
            AN_HOUR,
            gzip(include_bytes!(concat!(env!("OUT_DIR"), "/viewer.css.gz"))),
        ),
    ]
});

/// A page.
#[derive(Debug)]
pub struct Page {
    path: &'static str,
    kind: &'static str,
    policy: &'static str,
    kept: &'static str,
    content: Content,
    /// Its version. It is weak, as that of a page that is the same in gzip and without.
    tag: String,
}

#[derive(Debug)]
struct Content {
    bytes: &'static [u8],
    in_gzip: bool,
}

/// Returns the page with this path; `None` if there is none.
pub fn find(path: &str) -> Option<&'static Page> {
    let path = if path == "/docs/" { "/docs" } else { path };
    PAGES.iter().find(|page| page.path == path)
}

impl Page {
    fn new(
        path: &'static str,
        kind: &'static str,
        policy: &'static str,
        kept: &'static str,
        content: Content,
    ) -> Self {
        let digest = Sha256::digest(content.bytes);
        let tag = format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(digest.get(..TAG).unwrap_or_default()));
        Self { path, kind, policy, kept, content, tag }
    }

    /// Returns what a request with this method and these headers is answered: the page, 304 if the caller has it, or 405
    /// for a method other than GET and HEAD.
    pub fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let mut response = Response::new(Bytes::new());
        self.describe(response.headers_mut());
        if is_among(headers, &IF_NONE_MATCH, |tag| matches(tag, &self.tag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let (body, in_gzip) = self.content.fit_for(headers);
        if in_gzip {
            response.headers_mut().insert(CONTENT_ENCODING, GZIP);
        }
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if method == Method::GET {
            *response.body_mut() = body;
        }
        response
    }

    fn describe(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (CONTENT_TYPE, self.kind),
            (CONTENT_SECURITY_POLICY, self.policy),
            (CACHE_CONTROL, self.kept),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (VARY, "accept-encoding"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(tag) = HeaderValue::try_from(&self.tag) {
            headers.insert(ETAG, tag);
        }
    }
}

impl Content {
    /// Returns the bytes for a caller with these headers, and whether they are in gzip.
    fn fit_for(&self, headers: &HeaderMap) -> (Bytes, bool) {
        if !self.in_gzip {
            return (Bytes::from_static(self.bytes), false);
        }
        if gzip::is_accepted(headers) {
            return (Bytes::from_static(self.bytes), true);
        }
        let mut plain = Vec::new();
        match GzDecoder::new(self.bytes).read_to_end(&mut plain) {
            Ok(_) => (Bytes::from(plain), false),
            // Our own bytes are not broken; a caller that gets them as they are can at least see them.
            Err(_) => (Bytes::from_static(self.bytes), true),
        }
    }
}

/// Whether a header that is a list has an item like this.
fn is_among(headers: &HeaderMap, name: &HeaderName, is_it: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.flat_map(items).any(|item| is_it(&item))
}

fn items(value: Cow<'_, str>) -> Vec<String> {
    value.split(',').map(|item| item.trim().to_owned()).collect()
}

/// Whether an `ETag` of a caller is this one, weak or not.
fn matches(theirs: &str, tag: &str) -> bool {
    theirs == "*" || theirs.trim_start_matches("W/") == tag.trim_start_matches("W/")
}

#[cfg(test)]
mod tests;
