//! WebSocket sessions: the Realtime API, and the Responses API in its WebSocket form. Answers are the same as over
//! HTTP; sound is the tone that speech is.

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Response, StatusCode, header, request};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, handshake::derive_accept_key, protocol::Role},
};

use super::{
    answer::Output,
    ask::Ask,
    call::Call,
    responses,
    script::Break,
    simulator::Simulator,
    text::{self, Piece},
    wire::{self, Body},
};

/// Sound tokens that are heard in a second's worth of base64, and those that a token of text takes to say.
const BYTES_PER_TOKEN: usize = 640;
const SPOKEN: usize = 3;

/// What answers a handshake's key.
pub(super) fn accept_key(head: &request::Parts) -> Option<HeaderValue> {
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

pub(super) fn switch(accept: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(wire::plain(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.clone());
    response
}

/// Speaks until the client closes, or until the script breaks it off.
pub(super) async fn session(simulator: Arc<Simulator>, call: Call, upgrade: OnUpgrade, realtime: bool) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the client left before its session began");
            return;
        }
    };
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let interval = simulator.interval(&call.script);
    let mut session =
        Session { simulator, call, socket, interval, sent: 0, items: Vec::new(), settings: json!({}) };
    let ended = if realtime { session.realtime().await } else { session.responses().await };
    if let Err(error) = ended {
        tracing::debug!(%error, "a session broke off");
    }
}

struct Session {
    simulator: Arc<Simulator>,
    call: Call,
    socket: WebSocketStream<TokioIo<Upgraded>>,
    interval: Duration,
    sent: usize,
    /// The conversation of a realtime session.
    items: Vec<Value>,
    settings: Value,
}

impl Session {
    /// The next event of the client; `None` at the session's end.
    async fn next(&mut self) -> Result<Option<Value>, Error> {
        while let Some(message) = self.socket.next().await {
            if let Message::Text(text) = message? {
                return Ok(Some(serde_json::from_str(&text).unwrap_or_default()));
            }
        }
        Ok(None)
    }

    async fn send(&mut self, event: &Value) -> Result<(), Error> {
        if let Some(Break::Cut(after) | Break::Reset(after)) = self.call.script.breaks
            && self.sent >= after
        {
            return Err(Error::ConnectionClosed);
        }
        self.sent += 1;
        if !self.interval.is_zero() {
            tokio::time::sleep(self.interval).await;
        }
        self.socket.send(Message::text(event.to_string())).await
    }

    /// Every event of a stream is a message.
    async fn responses(&mut self) -> Result<(), Error> {
        while let Some(event) = self.next().await? {
            if event["type"] != "response.create" {
                self.send(&unknown(&event)).await?;
                continue;
            }
            let mut body = event;
            if let Some(fields) = body.as_object_mut() {
                fields.remove("type");
            }
            let model = body["model"].as_str().unwrap_or_default().to_owned();
            let call = Call { model, raw: body.to_string().into(), body, ..self.call.clone() };
            match self.simulator.respond(&call) {
                Ok(made) => {
                    for event in made.events {
                        let event = data_of(&event);
                        self.send(&event).await?;
                    }
                }
                Err(refusal) => {
                    let event = json!({"type": "error", "status": refusal.status.as_u16(),
                        "error": refusal.body(false)["error"]});
                    self.send(&event).await?;
                }
            }
        }
        Ok(())
    }

    async fn realtime(&mut self) -> Result<(), Error> {
        let id = self.simulator.head("sess_", &self.call).id;
        self.settings = json!({"type": "realtime", "object": "realtime.session", "id": id,
            "model": self.call.model, "output_modalities": ["audio"], "instructions": "", "tools": []});
        self.tell("session.created", json!({"session": self.settings})).await?;
        while let Some(event) = self.next().await? {
            match event["type"].as_str() {
                Some("session.update") => {
                    let wanted = event["session"].as_object().cloned().unwrap_or_default();
                    if let Some(settings) = self.settings.as_object_mut() {
                        settings.extend(wanted);
                    }
                    self.tell("session.updated", json!({"session": self.settings})).await?;
                }
                Some("conversation.item.create") => {
                    let mut item = event["item"].clone();
                    if item["id"].is_null() {
                        item["id"] = format!("item_{}", self.items.len()).into();
                    }
                    self.items.push(item.clone());
                    self.tell("conversation.item.added", json!({"item": item})).await?;
                    self.tell("conversation.item.done", json!({"item": item})).await?;
                }
                Some("response.create") => self.respond(&event["response"]).await?,
                _ => {
                    let problem = unknown(&event)["error"].clone();
                    self.tell("error", json!({"error": problem})).await?;
                }
            }
        }
        Ok(())
    }

    async fn tell(&mut self, kind: &str, mut fields: Value) -> Result<(), Error> {
        let mut event = json!({"type": kind, "event_id": format!("event_{}", self.sent)});
        if let (Some(event), Some(fields)) = (event.as_object_mut(), fields.as_object_mut()) {
            event.append(fields);
        }
        self.send(&event).await
    }

    /// One response of a realtime session, from `response.created` to `response.done`.
    async fn respond(&mut self, wanted: &Value) -> Result<(), Error> {
        let setting = |name: &str| match &wanted[name] {
            Value::Null => self.settings[name].clone(),
            own => own.clone(),
        };
        let modality = setting("output_modalities")[0].as_str().unwrap_or("audio").to_owned();
        let body = json!({"model": self.call.model, "input": self.items, "instructions": setting("instructions"),
            "tools": setting("tools")});
        let call = Call { raw: body.to_string().into(), body, ..self.call.clone() };
        let ask = match Ask::responses(&call.body, &[]) {
            Ok(ask) => ask,
            Err(refusal) => return self.tell("error", refusal.body(false)).await,
        };
        let (answers, cached) = self.simulator.answers(&call, &ask);
        let Some(answer) = answers.first() else { return Ok(()) };
        let head = self.simulator.head("resp_", &call);
        let heard = self.sound_heard();
        let mut response = json!({"object": "realtime.response", "id": head.id, "status": "in_progress",
            "status_details": null, "output": [], "conversation_id": "conv_1", "output_modalities": [modality],
            "usage": null, "metadata": wanted["metadata"]});
        self.tell("response.created", json!({"response": response})).await?;
        let mut output = responses::items(&head, &ask, answer);
        output.retain(|item| item["type"] != "reasoning");
        for (index, item) in output.iter_mut().enumerate() {
            let place = json!({"response_id": head.id, "item_id": item["id"], "output_index": index});
            self.tell("response.output_item.added", with(&place, json!({"item": item}))).await?;
            match &answer.output {
                Output::Calls(calls) => {
                    let pieces = calls.get(index).map(|call| call.arguments.clone()).unwrap_or_default();
                    self.deltas("response.function_call_arguments", "arguments", &place, &pieces).await?;
                }
                Output::Text(pieces) | Output::Refusal(pieces) => {
                    let place = with(&place, json!({"content_index": 0}));
                    let said = text::join(pieces);
                    if modality == "audio" {
                        item["content"] = json!([{"type": "output_audio", "transcript": said}]);
                        self.deltas("response.output_audio_transcript", "transcript", &place, pieces).await?;
                        let sound =
                            base64::engine::general_purpose::STANDARD.encode(vec![128; said.len() * 64]);
                        self.tell("response.output_audio.delta", with(&place, json!({"delta": sound})))
                            .await?;
                        self.tell("response.output_audio.done", place).await?;
                    } else {
                        self.deltas("response.output_text", "text", &place, pieces).await?;
                    }
                }
            }
            self.tell("response.output_item.done", with(&place, json!({"item": item}))).await?;
            self.items.push(item.clone());
        }
        let (told, sound) = match modality.as_str() {
            "audio" => (answer.tokens(), answer.tokens() * SPOKEN),
            _ => (answer.tokens(), 0),
        };
        let text = ask.prompt_tokens();
        response["status"] = "completed".into();
        response["output"] = output.into();
        response["usage"] = json!({
            "input_tokens": text + heard, "output_tokens": told + sound, "total_tokens": text + heard + told + sound,
            "input_token_details": {"text_tokens": text, "audio_tokens": heard, "image_tokens": 0,
                "cached_tokens": cached,
                "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0}},
            "output_token_details": {"text_tokens": told, "audio_tokens": sound},
        });
        self.tell("response.done", json!({"response": response})).await
    }

    async fn deltas(
        &mut self,
        kind: &str,
        whole: &str,
        place: &Value,
        pieces: &[Piece],
    ) -> Result<(), Error> {
        for piece in pieces {
            self.tell(&format!("{kind}.delta"), with(place, json!({"delta": piece.text}))).await?;
        }
        let mut end = json!({});
        end[whole] = text::join(pieces).into();
        self.tell(&format!("{kind}.done"), with(place, end)).await
    }

    /// Tokens of the sound in the conversation so far.
    fn sound_heard(&self) -> usize {
        let parts = self.items.iter().flat_map(|item| item["content"].as_array().into_iter().flatten());
        let sounds = parts.filter_map(|part| part["audio"].as_str());
        sounds.map(|sound| (sound.len() * 3 / 4).div_ceil(BYTES_PER_TOKEN)).sum()
    }
}

fn with(place: &Value, more: Value) -> Value {
    let mut all = place.clone();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}

fn unknown(event: &Value) -> Value {
    json!({"type": "error", "error": {"type": "invalid_request_error", "code": "invalid_value", "param": "type",
        "message": format!("Invalid value: {}.", event["type"])}})
}

/// The JSON of an event of a stream.
fn data_of(event: &Bytes) -> Value {
    let text = String::from_utf8_lossy(event);
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default();
    serde_json::from_str(data).unwrap_or_default()
}
