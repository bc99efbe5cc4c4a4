//! Speech and transcriptions: a tone as long as the text takes to say, and words for any sound.

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    call::{Call, MID_STREAM_ERROR, Reply, ok},
    chat,
    dice::Dice,
    prose,
    refusal::Refusal,
    text,
};

/// Of the sound that is made: 8,000 samples a second of 8 bits.
const RATE: u32 = 8_000;
/// Sound that a token takes, in and out.
const TOKENS_PER_SECOND: usize = 10;
/// Bytes in one event of a stream.
const PIECE: usize = 2_048;

/// A WAV file of a tone, a twentieth of a second for each token.
pub(super) fn sound(tokens: usize, dice: &mut Dice) -> Vec<u8> {
    let length = (tokens.min(2_000) as u32 + 1) * RATE / 20;
    let period = 16 + dice.below(48) as u32;
    let mut wav = Vec::with_capacity(length as usize + 44);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + length).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&RATE.to_le_bytes());
    wav.extend_from_slice(&RATE.to_le_bytes());
    wav.extend_from_slice(b"\x01\0\x08\0data");
    wav.extend_from_slice(&length.to_le_bytes());
    wav.extend((0..length).map(|at| if at % period < period / 2 { 96 } else { 160 }));
    wav
}

pub(super) fn speech(call: &Call) -> Result<Reply, Refusal> {
    let input = call.text("input").ok_or_else(|| Refusal::missing("input"))?;
    call.text("voice").ok_or_else(|| Refusal::missing("voice"))?;
    let told = text::count(input);
    let sound = sound(told, &mut Dice::new(0, &[b"speech", input.as_bytes()]));
    if call.text("stream_format") != Some("sse") {
        return Ok(Reply::Raw("audio/wav", sound.into()));
    }
    let packed = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut events: Vec<Bytes> = sound
        .chunks(PIECE)
        .map(|piece| chat::event(&json!({"type": "speech.audio.delta", "audio": packed(piece)})))
        .collect();
    let spoken = told * TOKENS_PER_SECOND / 20 + 1;
    events.push(chat::event(&json!({"type": "speech.audio.done", "usage": {
        "input_tokens": told, "output_tokens": spoken, "total_tokens": told + spoken,
    }})));
    Ok(Reply::Stream { events, error: error() })
}

fn error() -> Bytes {
    chat::event(&json!({"type": "error", "error": {"message": MID_STREAM_ERROR, "type": "server_error"}}))
}

/// What the sound says: words of its file's name, or whatever its bytes bring up.
pub(super) fn transcription(call: &Call) -> Result<Reply, Refusal> {
    let file = call.files.iter().find(|file| file.field == "file").ok_or_else(|| Refusal::missing("file"))?;
    let mut dice = Dice::new(0, &[b"transcription", &file.bytes]);
    let topic =
        file.name.rsplit_once('.').map_or(file.name.as_str(), |(name, _)| name).replace(['_', '-'], " ");
    let said = prose::more(&topic, &mut dice);
    let seconds = (file.bytes.len() as f64 / f64::from(RATE)).max(0.1);
    let usage = usage(&call.model, seconds, &said);
    if call.flag("stream") {
        let delta = |piece: &str| chat::event(&json!({"type": "transcript.text.delta", "delta": piece}));
        let mut events: Vec<Bytes> = text::pieces(&said).iter().map(|piece| delta(&piece.text)).collect();
        events.push(chat::event(&json!({"type": "transcript.text.done", "text": said, "usage": usage})));
        return Ok(Reply::Stream { events, error: error() });
    }
    let seconds = (seconds * 100.0).round() / 100.0;
    let stamp = |comma: char| format!("00:00:0{}{comma}000", (seconds as u64).min(9));
    Ok(match call.text("response_format").unwrap_or("json") {
        "json" | "diarized_json" => ok(json!({"text": said, "usage": usage})),
        "verbose_json" => ok(json!({
            "task": "transcribe", "language": "english", "duration": seconds, "text": said,
            "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": said, "tokens": [50364],
                "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.01}],
            "usage": usage,
        })),
        "text" => Reply::Raw("text/plain; charset=utf-8", format!("{said}\n").into()),
        "srt" => Reply::Raw(
            "text/plain; charset=utf-8",
            format!("1\n00:00:00,000 --> {}\n{said}\n\n", stamp(',')).into(),
        ),
        "vtt" => Reply::Raw(
            "text/plain; charset=utf-8",
            format!("WEBVTT\n\n00:00:00.000 --> {}\n{said}\n\n", stamp('.')).into(),
        ),
        other => {
            return Err(Refusal::invalid(
                Some("response_format"),
                format!(
                    "Invalid 'response_format': expected json, text, srt, verbose_json or vtt, found '{other}'."
                ),
            ));
        }
    })
}

/// By time for the models that are billed so, by tokens for the others.
fn usage(model: &str, seconds: f64, said: &str) -> Value {
    if model.starts_with("whisper") {
        return json!({"type": "duration", "seconds": seconds.ceil() as u64});
    }
    let (heard, told) = ((seconds * TOKENS_PER_SECOND as f64).ceil() as usize, text::count(said));
    json!({"type": "tokens", "input_tokens": heard, "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": told, "total_tokens": heard + told})
}
