//! The page at `/` (layer 4): says that tapline runs and how to point a client at it, and shows the latest
//! calls by asking the query API from the browser. One file without anything from elsewhere.

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};

const LANDING: &str = include_str!("landing.html");
/// Where the page's own style and script take the nonce that its policy names.
const NONCE: &str = "{{nonce}}";

pub fn router() -> Router {
    Router::new().route("/", get(landing))
}

/// The page under a policy that lets nothing run but its own script: even recorded text that found its way
/// into the markup could not act. The nonce is new for every answer, so it cannot be guessed.
async fn landing() -> Response {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let page = LANDING.replace(NONCE, &nonce);
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_page_runs_only_its_own_script() {
        let mut nonces = std::collections::BTreeSet::new();
        for _ in 0..2 {
            let request = http::Request::get("/").body(Body::empty()).unwrap();
            let response = router().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
            let nonce =
                policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            let page = response.into_body().collect().await.unwrap().to_bytes();
            let page = String::from_utf8(page.to_vec()).unwrap();
            assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2, "one style, one script");
            assert!(!page.contains(NONCE));
            nonces.insert(nonce);
        }
        assert_eq!(nonces.len(), 2);
    }

    #[test]
    fn the_page_brings_nothing_from_elsewhere_and_never_writes_markup() {
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " src=", "onclick="]
        {
            assert!(!LANDING.contains(forbidden), "{forbidden}");
        }
        assert!(!LANDING.contains("//cdn") && !LANDING.contains("https://"));
    }
}
