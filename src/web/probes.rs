//! What orchestrators and balancers ask over HTTP: whether the process lives (`/livez`), and whether it serves (`/readyz`).
//! The answers are those of gRPC health, and need no credential either.

use std::fmt;
use std::sync::Arc;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use tonic::body::Body;

/// Healthy as long as the process answers: restarting it would not bring back what it needs.
const LIVE: &str = "/livez";

/// Healthy while the service serves.
const READY: &str = "/readyz";

/// Says whether the service serves; else why it does not.
type Readiness = dyn Fn() -> Result<(), &'static str> + Send + Sync;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Probes(Arc<Readiness>);

impl Probes {
    /// Answers with what `readiness` says when it is asked: whether the service serves, or why it does not.
    pub fn new(readiness: impl Fn() -> Result<(), &'static str> + Send + Sync + 'static) -> Self {
        Self(Arc::new(readiness))
    }

    /// Returns the answer to a probe; `None` if the path is no probe's.
    pub(super) fn answer(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        let state = match path {
            LIVE => Ok(()),
            READY => (self.0)(),
            _ => return None,
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        let text = format!("{}\n", state.err().unwrap_or("ok"));
        let length = text.len();
        let body = if *method == Method::HEAD { Body::empty() } else { Body::new(text) };
        let mut response = Response::new(body);
        if state.is_err() {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }
}

impl fmt::Debug for Probes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Probes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn asked(probes: &Probes, method: Method, path: &str) -> (u16, String) {
        let response = probes.answer(&method, path).expect("a probe");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_service_that_does_not_serve_lives_and_says_why() {
        let (well, ill) = (Probes::new(|| Ok(())), Probes::new(|| Err("it stops")));
        assert_eq!(asked(&well, Method::GET, READY).await, (200, "ok\n".to_owned()));
        assert_eq!(asked(&ill, Method::GET, READY).await, (503, "it stops\n".to_owned()));
        assert_eq!(asked(&ill, Method::HEAD, READY).await, (503, String::new()));
        assert_eq!(asked(&ill, Method::GET, LIVE).await, (200, "ok\n".to_owned()));
        assert_eq!(asked(&well, Method::POST, LIVE).await.0, 405);
        for path in ["/", "/livez/", "/healthz"] {
            assert!(well.answer(&Method::GET, path).is_none(), "{path}");
        }
    }
}
