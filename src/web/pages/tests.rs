//! Tests of how pages are answered.

use http::header::ACCEPT_ENCODING;

use super::*;

fn headers(headers: &[(HeaderName, &'static str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
}

fn get(path: &str, sent: &[(HeaderName, &'static str)]) -> Response<Bytes> {
    find(path).expect(path).answer(&Method::GET, &headers(sent))
}

fn text(response: &Response<Bytes>, name: &HeaderName) -> String {
    response.headers().get(name).expect("the header").to_str().expect("a text").to_owned()
}

#[test]
fn every_page_says_what_it_is_and_what_it_may_do() {
    for page in PAGES.iter() {
        let response = get(page.path, &[]);
        assert_eq!(response.status(), StatusCode::OK, "{}", page.path);
        assert_eq!(text(&response, &CONTENT_LENGTH), response.body().len().to_string());
        assert!(!response.body().is_empty(), "{}", page.path);
        assert!(response.headers().get(CONTENT_ENCODING).is_none());
        assert_eq!(text(&response, &X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert!(text(&response, &CONTENT_SECURITY_POLICY).starts_with("default-src 'none'"));
    }
    assert!(find("/docs/").is_some_and(|page| page.path == "/docs"));
    for path in ["", "/api", "/docs/viewer", "/openapi.json/", "//"] {
        assert!(find(path).is_none(), "{path}");
    }
}

#[test]
fn what_is_large_comes_in_gzip_for_those_who_take_it() {
    for path in ["/openapi.json", "/docs/viewer.js", "/docs/viewer.css"] {
        let plain = get(path, &[(ACCEPT_ENCODING, "br, gzip;q=0")]);
        assert!(plain.headers().get(CONTENT_ENCODING).is_none());
        let gzip = get(path, &[(ACCEPT_ENCODING, "br, gzip;q=0.5")]);
        assert_eq!(text(&gzip, &CONTENT_ENCODING), "gzip");
        assert!(gzip.body().len() * 3 < plain.body().len(), "{path}");
        let mut same = Vec::new();
        GzDecoder::new(&gzip.body()[..]).read_to_end(&mut same).expect("gzip");
        assert_eq!(same, plain.body()[..], "{path}");
    }
}

#[test]
fn the_viewer_is_a_script_and_the_document_is_json() {
    let script = get("/docs/viewer.js", &[]);
    assert!(String::from_utf8_lossy(script.body()).contains("SwaggerUIBundle"));
    let document: serde_json::Value =
        serde_json::from_slice(get("/openapi.json", &[]).body()).expect("the document");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_caller_that_has_the_page_gets_no_other() {
    let page = find("/openapi.json").expect("the document");
    let tag = text(&get("/openapi.json", &[]), &ETAG);
    for known in [tag.as_str(), tag.trim_start_matches("W/"), "*", &format!("\"other\", {tag}")] {
        let mut sent = HeaderMap::new();
        sent.insert(IF_NONE_MATCH, HeaderValue::from_str(known).expect("a header"));
        let response = page.answer(&Method::GET, &sent);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert!(response.body().is_empty());
        assert_eq!(text(&response, &ETAG), tag);
    }
    let other = get("/openapi.json", &[(IF_NONE_MATCH, "\"other\"")]);
    assert_eq!(other.status(), StatusCode::OK);
}

#[test]
fn head_is_get_without_the_page_and_other_methods_are_refused() {
    let page = find("/").expect("the page");
    let (get, head) = (get("/", &[]), page.answer(&Method::HEAD, &HeaderMap::new()));
    assert_eq!(head.headers(), get.headers());
    assert!(head.body().is_empty());
    let post = page.answer(&Method::POST, &HeaderMap::new());
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(text(&post, &ALLOW), "GET, HEAD");
}

#[test]
fn pages_load_nothing_from_elsewhere() {
    for path in ["/docs", "/docs/start.js", "/"] {
        let response = get(path, &[]);
        let page = String::from_utf8_lossy(response.body()).into_owned();
        for part in page.split(['"', '\'']).filter(|part| part.contains("://") && !part.contains('\n')) {
            assert!(part.starts_with("http://localhost"), "{path} names {part}");
        }
    }
}
