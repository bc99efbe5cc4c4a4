//! Credentials wherever they hide in a head, and what must not be taken for one.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[test]
fn inv7_credentials_are_masked_and_the_rest_stays() {
    let kept = headers(&map(&[
        ("authorization", "Bearer sk-canary"),
        ("x-api-key", "sk-canary"),
        ("x-portkey-api-key", "sk-canary"),
        ("helicone-auth", "Bearer sk-canary"),
        ("cookie", "session=sk-canary"),
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.sk-canary"),
        ("x-openai-key", "canary"),
        ("x-auth-key", "canary"),
        ("x-vault-token", "canary"),
        ("x-amz-security-token", "canary"),
        ("x-bf-vk", "canary"),
        ("cf-aig-authorization", "Bearer canary"),
        ("x-odd", "my key is sk-canary0123456789abcdef, keep it"),
        ("x-portkey-config", r#"{"provider":"openai","api_key":"canary","retry":{"authToken":["canary"]}}"#),
        ("x-broken-config", r#"{"api_key":"canary","#),
        ("location", "https://u:canary@h/p?X-Amz-Signature=canary&page=2#access_token=canary"),
        ("referer", "https://h/p?api%5Fkey=canary"),
        ("accept", "*/*"),
        ("x-tapline-run", "v1"),
    ]));
    let text = format!("{kept:?}");
    assert!(!text.contains("canary"), "{text}");
    for stays in
        ["Bearer ***", "*/*", "\"v1\"", "my key is ***, keep it", "page=2", "https://***@h/p", "openai"]
    {
        assert!(text.contains(stays), "{stays}: {text}");
    }
}

#[test]
fn what_is_no_credential_stays_as_it_is() {
    for (name, value) in [
        ("x-ratelimit-remaining-tokens", "149984"),
        ("idempotency-key", "a1b2"),
        ("x-tapline-metadata", r#"{ "dataset" : "v2", "n": 1.50 }"#),
        ("x-tapline-tags", "skilled, keynote"),
        ("x-request-id", "req_0123456789abcdef"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("location", "/v1/files/a?after=x%20y"),
        ("openai-organization", "org-0123456789abcdef"),
        ("user-agent", "OpenAI/Python 1.2.3 (sk-short)"),
    ] {
        let kept = headers(&map(&[(name, value)]));
        assert_eq!(kept, [(name.to_owned(), value.to_owned())]);
    }
}

#[test]
fn inv7_query_credentials_are_masked() {
    for (asked, kept) in [
        ("/models?key=canary&x=%2F&api_key=canary", "/models?key=***&x=%2F&api_key=***"),
        ("/models?api%5Fkey=canary&accessToken=canary", "/models?api%5Fkey=***&accessToken=***"),
        ("/x?sig=canary&code=canary&subscription-key=canary", "/x?sig=***&code=***&subscription-key=***"),
        ("/x?q=sk-canary0123456789", "/x?q=***"),
        ("/models?keyword=a&b", "/models?keyword=a&b"),
        ("/x?pageToken=a&page_token=b&key=", "/x?pageToken=a&page_token=b&key="),
        ("/v1/keys/sk-proj-0123456789abcdef/usage", "/v1/keys/***/usage"),
        ("/v1/sk-proj-0123456789abcdef?limit=1", "/v1/***?limit=1"),
        ("/models", "/models"),
    ] {
        assert_eq!(target(asked), kept);
    }
}

#[test]
fn inv7_keys_are_masked_in_sentences() {
    assert_eq!(
        text("Incorrect API key provided: sk-proj-0123456789abcdef. See https://h/x"),
        "Incorrect API key provided: ***. See https://h/x"
    );
    assert_eq!(
        text("rate limit of 3 tokens, ask-me-anything-please"),
        "rate limit of 3 tokens, ask-me-anything-please"
    );
}

#[test]
fn fingerprints_need_the_salt() {
    let head = map(&[("authorization", "Bearer sk-1")]);
    let one = Fingerprints::new([1; 32]).of(&head);
    assert_eq!(one, Fingerprints::new([1; 32]).of(&map(&[("x-api-key", "sk-1")])));
    assert_ne!(one, Fingerprints::new([2; 32]).of(&head));
    assert_eq!(one.map(|text| text.len()), Some(16));
    assert_eq!(Fingerprints::new([1; 32]).of(&HeaderMap::new()), None);
}

#[test]
fn any_header_value_survives_as_characters() {
    let mut head = HeaderMap::new();
    head.insert("x-odd", HeaderValue::from_bytes(b"\xff\xe9 ok").unwrap());
    assert_eq!(headers(&head), [("x-odd".to_owned(), "\u{ff}\u{e9} ok".to_owned())]);
}

proptest! {
    #[test]
    fn inv7_no_head_lets_a_secret_through(
        name in "(x-)?([a-z]{1,6}-)?(api-key|authorization|auth-token|secret|password|client-secret|access_token)",
        before in "[ -~]{0,12}",
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
    ) {
        let mut head = HeaderMap::new();
        head.insert(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::try_from(format!("{before}CANARY")).unwrap());
        for (number, value) in values.iter().enumerate() {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                head.insert(HeaderName::try_from(format!("x-{number}")).unwrap(), value);
            }
        }
        let kept = headers(&head);
        prop_assert_eq!(kept.len(), head.len());
        prop_assert!(kept.iter().all(|(_, value)| !value.contains("CANARY")));
    }

    #[test]
    fn any_target_keeps_its_path_and_its_names(asked in "[ -~é]{0,60}") {
        let kept = target(&asked);
        prop_assert_eq!(kept.split('?').next(), asked.split('?').next());
        prop_assert_eq!(kept.matches('&').count(), asked.matches('&').count());
        prop_assert_eq!(target(&kept), kept, "masking twice changes nothing");
    }

    #[test]
    fn any_text_is_masked_without_panic_and_once(words in "\\PC{0,80}") {
        let once = text(&words);
        prop_assert_eq!(text(&once), once);
    }
}

#[test]
fn inv7_command_lines_keep_no_secret() {
    let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let given = "python a.py --api-key abc --token=abc OPENAI_API_KEY=x -k sk-0123456789abcdef01 --password --quiet \
                 --max-tokens 5";
    let kept =
        "python a.py --api-key *** --token=*** OPENAI_API_KEY=*** -k *** --password --quiet --max-tokens 5";
    assert_eq!(arguments(&line(given)), line(kept));
}
