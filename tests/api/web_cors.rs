//! Which web pages may call.

use http::Method;
use serde_json::json;
use uuid::Uuid;

use crate::support::web::Web;
use crate::support::{Crm, Settings};

const GET: &str = "/crm.v1.CustomerService/GetCustomer";

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_settings_may_call_and_no_others() {
    let origins = |origins: &[&str]| Settings {
        cors_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        ..Settings::default()
    };
    let (app, evil) = ("https://app.example.com", "https://evil.example");
    for (allowed, origin, expected) in
        [(&[][..], app, ""), (&[app][..], app, app), (&[app], evil, ""), (&["*"], evil, "*")]
    {
        let crm = Crm::with(origins(allowed)).await;
        let page = Web::new(&crm, crm.tenant().id).with("origin", origin);
        let asked = page
            .with("access-control-request-method", "POST")
            .with("access-control-request-headers", "content-type,x-tenant-id")
            .send(Method::OPTIONS, GET, None)
            .await;
        assert_eq!(asked.header("access-control-allow-origin"), expected, "{allowed:?} {origin}");
        let error = page.post(GET, json!({"id": Uuid::now_v7()})).await;
        assert_eq!(error.status, 404, "{error:?}");
        assert_eq!(error.header("access-control-allow-origin"), expected);
        let listed = page.get("/api/v1/customers").await;
        assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, expected));
        if expected.is_empty() {
            assert_eq!(asked.header("access-control-allow-headers"), "");
            continue;
        }
        assert_eq!(asked.status, 204);
        assert_eq!(asked.header("access-control-allow-headers"), "content-type,x-tenant-id");
        assert!(asked.header("access-control-allow-methods").contains("PATCH"), "{asked:?}");
        for name in
            ["grpc-status", "grpc-message", "grpc-status-details-bin", "etag", "x-request-id", "retry-after"]
        {
            assert!(error.header("access-control-expose-headers").contains(name), "{name}");
        }
        let vary: Vec<_> = error.headers.get_all("vary").iter().collect();
        assert!(vary.iter().any(|value| *value == "origin"), "{vary:?}");
    }
}
