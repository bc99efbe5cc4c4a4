//! Any query on any list: an answer or a clear refusal, never a fault of the server's.

use proptest::prelude::*;

use super::fixture::{Fixture, call};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_query_is_answered_or_refused(
        queries in proptest::collection::vec(
            prop_oneof![
                "[a-z_]{1,12}=[ -~]{0,24}",
                "(status|model|since|until|session|run|experiment|q|limit|cursor|sort|by|format)=[ -~é]{0,24}",
                "(limit|cursor)=-?[0-9]{0,24}",
                "\\PC{0,40}",
            ],
            1..12,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new().await;
            fixture.settle([call(1), call(2)]).await;
            for path in ["calls", "runs", "experiments", "costs"] {
                for query in queries.iter().cloned().chain([queries.join("&")]) {
                    let address = format!("/api/v1/{path}?{query}");
                    // What is no URI never gets here.
                    if address.parse::<http::Uri>().is_ok() {
                        let status = fixture.status(&address).await;
                        assert!(status < 500, "{address}: {status}");
                    }
                }
            }
        });
    }
}
