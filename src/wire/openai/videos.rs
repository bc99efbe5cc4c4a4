//! The Videos API: film that is made apart from the call that asks for it. Its seconds are billed, once, when
//! somebody looks and it is done; the film itself is fetched elsewhere and is no part of this.

use crate::{
    model::{
        exchange::{Choice, Job, Message, MessagePart, Response},
        usage::{Meter, Usage},
    },
    wire::{error, json, notes::Notes},
};

/// Longest edge of the sizes that every model makes; larger ones cost more where a model makes them.
const USUAL_EDGE: u32 = 1_280;

/// A video's object, as it is asked for and as it is looked at.
pub(in crate::wire) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let (mut state, mut seconds, mut size) = (None, None, None);
    let read = json::fields(body, |key, field| match key {
        "id" => response.id = json::filled(Some(field)),
        "model" => response.model = json::filled(Some(field)),
        "status" => state = json::filled(Some(field)),
        "seconds" => seconds = json::shown(field).parse::<f64>().ok(),
        "size" => size = json::filled(Some(field)),
        _ => {}
    });
    response.complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    response.error = error::inside(body, status);
    let Some(id) = response.id.clone() else { return response };
    response.job = Some(Job { id, ..Job::default() });
    let made = seconds.filter(|seconds| (0.0..1e6).contains(seconds)).map(|seconds| seconds.ceil() as u64);
    if let (Some("completed"), Some(made)) = (state.as_deref(), made) {
        let mut usage = Usage::default();
        let meter = if size.as_deref().is_some_and(is_large) { Meter::SecondLarge } else { Meter::Second };
        usage.count(meter, made);
        response.usage = Some(usage);
    }
    let value = serde_json::json!({"type": "video", "status": state, "seconds": made, "size": size});
    let parts = vec![MessagePart::Other { value }];
    let message = Message { role: "output".to_owned(), name: None, parts };
    response.choices.push(Choice { message, ..Choice::default() });
    response
}

/// `1792x1024`.
fn is_large(size: &str) -> bool {
    size.split('x').filter_map(|edge| edge.parse::<u32>().ok()).any(|edge| edge > USUAL_EDGE)
}
