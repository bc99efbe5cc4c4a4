//! Where bodies are cut, where they are not, and that nothing is lost either way.

use proptest::prelude::*;

use super::*;

const SYSTEM: &str = r#"{"role":"system","content":"You are a careful assistant. Answer in one sentence."}"#;
const USER: &str = r#"{"role":"user","content":"say \"]}\\\" and [\u005d"}"#;
const CALL: &str = r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"arguments":"{}"}}]}"#;
const TOOLS: &str = r#"[{"type":"function","function":{"name":"f"}}]"#;

fn parts(dialect: Dialect, text: &str) -> Vec<Part> {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let cut = split(dialect, &body);
    assert_eq!(cut.bytes(), body);
    cut.parts
}

fn literal(text: &str) -> Part {
    Part::Literal(Bytes::copy_from_slice(text.as_bytes()))
}

fn link(items: &[&str], separator: &str) -> Part {
    Part::Chain {
        items: items.iter().map(|item| Bytes::copy_from_slice(item.as_bytes())).collect(),
        separator: Bytes::copy_from_slice(separator.as_bytes()),
    }
}

#[test]
fn messages_become_a_chain_and_tools_a_part() {
    let text = format!(r#"{{"model":"m","messages":[{SYSTEM}, {USER}, {CALL}],"tools": {TOOLS} , "n":1}}"#);
    let expected = vec![
        literal(r#"{"model":"m","messages":["#),
        literal(SYSTEM),
        literal(", "),
        link(&[USER, CALL], ", "),
        literal(r#"],"tools": "#),
        literal(TOOLS),
        literal(r#" , "n":1}"#),
    ];
    assert_eq!(parts(Dialect::ChatCompletions, &text), expected);
    assert_eq!(parts(Dialect::Messages, &text), expected);
    assert_eq!(parts(Dialect::Responses, &text.replace("messages", "input")).len(), 7);
}

#[test]
fn a_longer_history_shares_its_items_with_the_shorter() {
    let short = format!(
        r#"{{"model":"m","messages":[{SYSTEM},{USER}],"temperature":0.25,"x":"{}"}}"#,
        "y".repeat(200)
    );
    let long = short.replace(USER, &format!("{USER},{CALL},{USER}"));
    let items = |text: &str| match &parts(Dialect::ChatCompletions, text)[3] {
        Part::Chain { items, .. } => items.clone(),
        other => panic!("{other:?}"),
    };
    assert!(items(&long).starts_with(&items(&short)));
}

#[test]
fn a_system_prompt_that_changes_leaves_the_conversation_as_it_is() {
    let text =
        format!(r#"{{"model":"m","messages":[{SYSTEM},{USER},{CALL},{SYSTEM}],"x":"{}"}}"#, "y".repeat(200));
    let chain = |text: &str| {
        let chain = parts(Dialect::ChatCompletions, text);
        chain.into_iter().find(|part| matches!(part, Part::Chain { .. })).unwrap()
    };
    let later = text.replacen("Answer in one sentence.", "It is Tuesday.", 1);
    assert_eq!(chain(&later), chain(&text), "one that comes later is a part of it");
    // Nothing but a system prompt is a conversation, too.
    let alone = format!(r#"{{"model":"m","messages":[{SYSTEM}],"x":"{}"}}"#, "y".repeat(200));
    assert_eq!(chain(&alone), link(&[SYSTEM], ""));
}

#[test]
fn slices_are_not_copies() {
    let text = format!(r#"{{"messages":[{SYSTEM},{USER},{CALL}],"tools":{TOOLS}}}"#);
    let body = Bytes::from(text.into_bytes());
    let within = body.as_ptr_range();
    for part in split(Dialect::ChatCompletions, &body).parts {
        match part {
            Part::Literal(bytes) => assert!(within.contains(&bytes.as_ptr())),
            Part::Chain { items, .. } => assert!(items.iter().all(|item| within.contains(&item.as_ptr()))),
        }
    }
}

#[test]
fn unequal_gaps_make_literals() {
    let text = format!(
        r#"{{"model":"m","messages":[{SYSTEM}, {USER},{CALL}, {USER}],"stop":"{}"}}"#,
        "z".repeat(60)
    );
    let cut = parts(Dialect::ChatCompletions, &text);
    let [user, call] = [USER, CALL].map(literal);
    assert_eq!(
        cut[1..8],
        [literal(SYSTEM), literal(", "), user.clone(), literal(","), call, literal(", "), user]
    );
}

#[test]
fn a_picture_is_one_part_wherever_it_is_shown() {
    let picture = "iVBORw0KGgo".repeat(MIN_MEDIA / 10);
    let chat = |text: &str| {
        format!(
            r#"{{"messages":[{SYSTEM},{{"role":"user","content":[{{"type":"text","text":"{text}"}},{{"type":"image_url",
            "image_url":{{"url":"data:image/png;base64,{picture}"}}}}]}}, {CALL},{USER}]}}"#
        )
    };
    let messages = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","data":"{picture}"}}}}]}}]}}"#
    );
    for (dialect, text) in [
        (Dialect::ChatCompletions, chat("What is this?")),
        (Dialect::ChatCompletions, chat("And who made it?")),
        (Dialect::Messages, messages),
    ] {
        let cut = parts(dialect, &text);
        assert!(cut.contains(&literal(&picture)), "{text}");
        assert!(cut.len() < 10 && !cut.iter().any(|part| *part == literal("")), "{cut:?}");
    }
    let cut = parts(Dialect::ChatCompletions, &chat("x"));
    assert_eq!(cut[1], literal(SYSTEM));
    assert_eq!(cut[cut.len() - 2], link(&[CALL, USER], ","));
    let long_text = chat("x").replace(&picture, &"not base64 at all ".repeat(MIN_MEDIA / 10));
    assert!(matches!(&parts(Dialect::ChatCompletions, &long_text)[3..4], [Part::Literal(_)]), "unequal gaps");
}

#[test]
fn large_values_beside_are_parts_of_their_own() {
    let system = "s".repeat(2_000);
    let text = format!(r#"{{"max_tokens":7,"system":"{system}","messages":[{USER}]}}"#);
    let cut = parts(Dialect::Messages, &text);
    assert_eq!(cut[1], literal(&format!("\"{system}\"")));
    assert_eq!(cut[3], link(&[USER], ""));
}

#[test]
fn doubt_leaves_the_body_whole() {
    let pad = " ".repeat(300);
    for text in [
        format!(r#"{{"messages":[{SYSTEM},{USER}],"messages":[{SYSTEM}]}}{pad}"#),
        format!(r#"{{"messages":[{SYSTEM},{USER}]}} {{}}{pad}"#),
        format!(r#"{{"messages":[{SYSTEM},{USER},]}}{pad}"#),
        format!(r#"{{"messages":[{SYSTEM} {USER}]}}{pad}"#),
        format!(r#"{{"messages":[{SYSTEM},{USER}]{pad}"#),
        format!(r#"[{{"messages":[{SYSTEM},{USER}]}}]{pad}"#),
        format!(r#"{{"messages":"{pad}}}"#),
        format!(r#"{{"messages":[]}}{pad}"#),
        format!(r#"{{"messages":[1,2]}}{pad}"#),
        pad,
    ] {
        assert_eq!(parts(Dialect::ChatCompletions, &text), [literal(&text)], "{text}");
    }
    let sound = format!(r#"{{"messages":[{SYSTEM},{USER},{CALL}]}}"#);
    assert_eq!(parts(Dialect::Http, &sound).len(), 1);
    assert_eq!(parts(Dialect::ChatCompletions, r#"{"messages":[{"role":"user"}]}"#).len(), 1);
    assert!(parts(Dialect::ChatCompletions, "").is_empty());
}

#[test]
fn depth_is_no_danger() {
    let deep = "[".repeat(100_000);
    parts(Dialect::ChatCompletions, &deep);
    let closed = format!(r#"{{"messages":[{{"content":{}{}}}]}}"#, deep, "]".repeat(100_000));
    assert_eq!(parts(Dialect::ChatCompletions, &closed).len(), 3);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,40}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::vec(("(messages|tools|input|.{0,6})", inner), 0..6)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn inv8_the_parts_of_any_bytes_are_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let body = Bytes::from(bytes);
        prop_assert_eq!(split(Dialect::ChatCompletions, &body).bytes(), body);
    }

    #[test]
    fn inv8_the_parts_of_damaged_json_are_its_bytes(at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
        let text = format!(r#"{{"model":"m","messages":[{SYSTEM}, {USER}, {CALL}],"tools": {TOOLS} , "n":1}}"#);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let end = cut.index(bytes.len() + 1).max(MIN_BODY);
        for body in [Bytes::copy_from_slice(&bytes[..end]), Bytes::from(bytes)] {
            prop_assert_eq!(split(Dialect::ChatCompletions, &body).bytes(), body);
        }
    }

    #[test]
    fn inv8_the_parts_of_any_json_are_its_bytes(
        messages in proptest::collection::vec(json(), 0..5), rest in json(), pretty: bool,
    ) {
        let value = serde_json::json!({"a": rest, "messages": messages, "pad": "p".repeat(300), "tools": [rest]});
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let body = Bytes::from(text);
        let cut = split(Dialect::ChatCompletions, &body);
        prop_assert_eq!(cut.bytes(), body);
        let objects = !messages.is_empty() && messages.iter().all(serde_json::Value::is_object);
        let chained = cut.parts.iter().any(|part| matches!(part, Part::Chain { .. }));
        prop_assert_eq!(objects, chained);
    }
}
