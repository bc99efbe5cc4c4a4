//! Any text as a `traceparent`: what is taken is valid, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapline::wire::TraceParent;

fuzz_target!(|text: &str| {
    if let Some(parent) = TraceParent::parse(text) {
        assert_ne!(parent.trace.0, [0; 16]);
        assert_ne!(parent.parent.0, [0; 8]);
        let (trace, span) = (parent.trace.to_string(), parent.parent.to_string());
        assert!(text.contains(&trace) && text.contains(&span), "{text:?}: {trace} {span}");
    }
});
