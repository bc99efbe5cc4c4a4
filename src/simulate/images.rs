//! Images: small pictures of one colour, a colour for each prompt; whole, by address, or as partial images.

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    call::{Call, MID_STREAM_ERROR, Reply, ok},
    chat::Head,
    dice::Dice,
    refusal::Refusal,
    responses, text,
};

/// Tokens of one picture, in and out: the published ones of a square of medium quality.
const TOKENS: usize = 1056;
const SIDE: u32 = 8;

pub(super) fn reply(head: &Head, call: &Call, edits: bool) -> Result<Reply, Refusal> {
    let prompt = match call.text("prompt") {
        Some(prompt) => prompt,
        // A variation is of a picture alone.
        None if edits && !call.files.is_empty() => "",
        None => return Err(Refusal::missing("prompt")),
    };
    let number = call.body.get("n").map(|n| n.to_string().trim_matches('"').to_owned());
    let count: usize = number.as_deref().unwrap_or("1").parse().unwrap_or(0);
    if !(1..=10).contains(&count) {
        return Err(Refusal::invalid(Some("n"), "Invalid 'n': expected 1 to 10."));
    }
    let pictures: Vec<String> = (0..count).map(|index| picture(prompt, index)).collect();
    let given = call.files.iter().filter(|file| file.field.starts_with("image")).count();
    let (told, shown) = (text::count(prompt), given * TOKENS);
    let usage = json!({
        "input_tokens": told + shown, "input_tokens_details": {"text_tokens": told, "image_tokens": shown},
        "output_tokens": count * TOKENS, "total_tokens": told + shown + count * TOKENS,
    });
    let looks = json!({
        "size": "1024x1024", "quality": "medium", "background": "opaque", "output_format": "png",
    });
    let counts = !call.model.starts_with("dall-e");
    if !call.flag("stream") {
        let by_address = !counts && call.text("response_format") != Some("b64_json");
        let data: Vec<Value> = pictures
            .iter()
            .enumerate()
            .map(|(index, packed)| match by_address {
                true => json!({"url": format!("https://images.invalid/{}/{index}.png", head.id)}),
                false => json!({"b64_json": packed}),
            })
            .collect();
        let mut whole = json!({"created": head.created, "data": data});
        if counts {
            join(&mut whole, &looks);
            whole["usage"] = usage;
        }
        return Ok(ok(whole));
    }
    let kind = if edits { "image_edit" } else { "image_generation" };
    let partial = call.body.get("partial_images").map(ToString::to_string).unwrap_or_default();
    let partial: usize = partial.trim_matches('"').parse().unwrap_or(0);
    let event = |name: &str, packed: &str, extra: Value| {
        let name = format!("{kind}.{name}");
        let mut event = json!({"type": name, "b64_json": packed, "created_at": head.created});
        join(&mut event, &looks);
        join(&mut event, &extra);
        responses::named_event(&name, &event)
    };
    let packed = pictures.first().map(String::as_str).unwrap_or_default();
    let mut events: Vec<Bytes> = (0..partial.min(3))
        .map(|index| event("partial_image", packed, json!({"partial_image_index": index})))
        .collect();
    events.push(event("completed", packed, json!({"usage": usage})));
    let error = json!({"type": "error", "error": {"message": MID_STREAM_ERROR, "type": "server_error", "code": null}});
    Ok(Reply::Stream { events, error: responses::named_event("error", &error) })
}

fn join(whole: &mut Value, more: &Value) {
    if let (Some(whole), Some(more)) = (whole.as_object_mut(), more.as_object()) {
        whole.extend(more.clone());
    }
}

/// A PNG of one colour, in base64.
fn picture(prompt: &str, index: usize) -> String {
    let mut dice = Dice::new(0, &[b"picture", prompt.as_bytes(), &index.to_le_bytes()]);
    let colour: [u8; 3] = std::array::from_fn(|_| (dice.next() & 0xff) as u8);
    let row: Vec<u8> = std::iter::once(0).chain((0..SIDE).flat_map(|_| colour)).collect();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing into memory cannot fail; an empty picture would be one all the same.
    let rows = (0..SIDE).try_for_each(|_| std::io::Write::write_all(&mut packed, &row));
    let pixels = rows.and_then(|()| packed.finish()).unwrap_or_default();
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let head = [&SIDE.to_be_bytes()[..], &SIDE.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (kind, data) in [(b"IHDR", head.as_slice()), (b"IDAT", &pixels), (b"IEND", &[])] {
        png.extend_from_slice(&(data.len() as u32).to_be_bytes());
        let chunk = [&kind[..], data].concat();
        png.extend_from_slice(&chunk);
        png.extend_from_slice(&crc32fast::hash(&chunk).to_be_bytes());
    }
    base64::engine::general_purpose::STANDARD.encode(png)
}
