//! Any head, any target, any sentence: what stands under a credential's name is gone, masking twice changes nothing,
//! and nothing panics.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tapline::capture::redact;

const SECRETS: [&str; 6] = ["authorization", "x-api-key", "cookie", "x-auth-token", "client-secret", "proxy-authorization"];

fuzz_target!(|input: (u8, Vec<(String, Vec<u8>)>, Vec<u8>, String)| {
    let (which, others, secret, text) = input;
    let mut head = HeaderMap::new();
    let marked = [b"CANARY".as_slice(), &secret].concat();
    if let Ok(value) = HeaderValue::from_bytes(&marked) {
        head.insert(HeaderName::from_static(SECRETS[usize::from(which) % SECRETS.len()]), value);
    }
    for (name, value) in others {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value))
            && !head.contains_key(&name)
            && !value.as_bytes().windows(6).any(|window| window == b"CANARY")
        {
            head.insert(name, value);
        }
    }
    let kept = redact::headers(&head);
    assert_eq!(kept.len(), head.len());
    assert!(kept.iter().all(|(_, value)| !value.contains("CANARY")), "{kept:?}");
    for masked in [redact::target(&text), redact::text(&text)] {
        assert_eq!(redact::text(&masked), masked);
    }
    let target = redact::target(&text);
    assert_eq!(redact::target(&target), target);
    if !text.contains("CANARY") {
        assert!(!redact::target(&format!("/x?api_key=CANARY&{text}")).contains("=CANARY"));
    }
});
