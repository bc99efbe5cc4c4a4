//! Carries a script out: plays the client and the upstream in one order, then reads what the store has.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use serde_json::Value;

use crate::{
    case::{Passed, Script, Span, Step, Verdict, Want},
    peer::{Message, Peer, eventually, find, short, text},
    tapline,
};

/// Where a script is played.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) proxy: SocketAddr,
    /// Path that leads to the case's upstream.
    pub(crate) base: String,
    /// Unique to the case; the session under which its calls are found.
    pub(crate) tag: String,
    /// `Host` that the upstream gets.
    pub(crate) authority: String,
    pub(crate) upstream: Option<TcpListener>,
    /// Whether the proxy is tapline, with a store.
    pub(crate) own: bool,
}

pub(crate) fn play(stage: &mut Stage, script: &Script) -> Verdict {
    if let (Some(why), false) = (script.own, stage.own) {
        return Ok(Passed::Skipped(why.to_owned()));
    }
    let mut scene = Scene {
        stage,
        client: None,
        upstream: None,
        requests: Vec::new(),
        answers: Vec::new(),
        asked_head: false,
    };
    for (number, step) in script.steps.iter().enumerate() {
        scene.step(step).map_err(|error| format!("step {} ({}): {error}", number + 1, name(step)))?;
    }
    let (requests, answers) = (std::mem::take(&mut scene.requests), std::mem::take(&mut scene.answers));
    // Whoever still holds on would keep calls open.
    drop(scene);
    if stage.own {
        spans(stage, &script.spans, &requests, &answers)?
    }
    Ok(Passed::Yes)
}

fn name(step: &Step) -> String {
    let all = format!("{step:?}");
    all.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

struct Scene<'a> {
    stage: &'a mut Stage,
    client: Option<Peer>,
    upstream: Option<Peer>,
    /// Bodies that the upstream got whole.
    requests: Vec<Vec<u8>>,
    /// Bodies that the client got whole, of the upstream's answers.
    answers: Vec<Vec<u8>>,
    asked_head: bool,
}

impl Scene<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Open => self.client = Some(Peer::connect(self.stage.proxy)?),
            Step::Send(bytes) => {
                let bytes = self.fill_in(bytes);
                self.asked_head = bytes.starts_with(b"HEAD ");
                self.client()?.write(&bytes)?;
            }
            Step::TrySend(bytes) => {
                let bytes = self.fill_in(bytes);
                drop(self.client()?.try_write(&bytes));
            }
            Step::SendSlowly(bytes) => {
                let bytes = self.fill_in(bytes);
                for byte in bytes.chunks(1) {
                    self.client()?.write(byte)?;
                }
            }
            Step::SkipContinue => self.client()?.skip_continue()?,
            Step::Answer(want) => self.answer(want)?,
            Step::AnswerHead(want) => {
                let head = self.client()?.head()?.ok_or("expected a response, found the end")?;
                self.check(want, &head, false)?;
            }
            Step::Raw(bytes) => {
                let bytes = self.fill_in(bytes);
                let found = self.client()?.take(bytes.len())?;
                same("the client's bytes", &bytes, &found)?;
            }
            Step::Broken => {
                let asked_head = self.asked_head;
                match self.client()?.message(false, asked_head) {
                    Ok(Some(message)) if message.whole => {
                        return Err(format!("expected a broken response, found a whole one: {message:?}"));
                    }
                    Err(error) if error.contains("nothing came") => return Err(error),
                    _ => {}
                }
                self.client = None;
            }
            Step::Gone => {
                let rest = self.client()?.rest()?;
                same("what the client got before the end", b"", &rest)?;
                self.client = None;
            }
            Step::Leave => drop(self.client.take()),
            Step::LeaveHalf => self.client()?.half_close(),
            Step::Reset => self.client.take().map_or(Ok(()), Peer::reset)?,
            Step::Takes(want) => {
                let message = self.taken(|peer| peer.message(true, false))?;
                if !message.whole {
                    return Err(format!("expected a whole request, found {}", short(&message.body)));
                }
                self.check(want, &message, true)?;
                self.requests.push(message.body);
            }
            Step::TakesHead(want) => {
                let message = self.taken(Peer::head)?;
                self.check(want, &message, true)?;
            }
            Step::TakesRaw(bytes) => {
                let bytes = self.fill_in(bytes);
                if self.upstream.is_none() {
                    self.upstream = Some(self.accept()?);
                }
                let found = self.up()?.take(bytes.len())?;
                same("the upstream's bytes", &bytes, &found)?;
            }
            Step::Reply(bytes) => {
                let bytes = self.fill_in(bytes);
                self.up()?.write(&bytes)?;
            }
            Step::Dribble(bytes, size) => {
                let bytes = self.fill_in(bytes);
                for piece in bytes.chunks(*size) {
                    self.up()?.write(piece)?;
                }
            }
            Step::HangUp => {
                self.up()?.written();
                self.upstream = None;
            }
            Step::UpReset => self.upstream.take().map_or(Ok(()), Peer::reset)?,
            Step::UpGone => {
                let rest = self.up()?.rest()?;
                same("what the upstream got before the end", b"", &rest)?;
                self.upstream = None;
            }
            Step::Unfinished => self.unfinished()?,
            Step::Untouched => self.untouched()?,
            Step::Fresh => self.upstream = None,
            Step::Deaf => self.stage.upstream = None,
            Step::Wait(millis) => std::thread::sleep(Duration::from_millis(*millis)),
        }
        Ok(())
    }

    fn client(&mut self) -> Result<&mut Peer, String> {
        match &mut self.client {
            Some(client) => Ok(client),
            none => Ok(none.insert(Peer::connect(self.stage.proxy)?)),
        }
    }

    fn up(&mut self) -> Result<&mut Peer, String> {
        self.upstream.as_mut().ok_or_else(|| "expected a connection to the upstream, found none".to_owned())
    }

    fn fill_in(&self, bytes: &[u8]) -> Vec<u8> {
        let tag = format!("x-tapline-session: {}\r\n", self.stage.tag);
        let at = self.stage.proxy.to_string();
        let marks =
            [("<tag>", &tag), ("<base>", &self.stage.base), ("<up>", &self.stage.authority), ("<at>", &at)];
        // Marks stand in heads and small bodies; the rest of a large body is not searched through.
        let (mut rest, large) = bytes.split_at(bytes.len().min(256 << 10));
        let mut filled = Vec::with_capacity(bytes.len() + 256);
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            let (before, from) = rest.split_at(at);
            filled.extend_from_slice(before);
            match marks.iter().find(|(mark, _)| from.starts_with(mark.as_bytes())) {
                Some((mark, value)) => {
                    filled.extend_from_slice(value.as_bytes());
                    rest = &from[mark.len()..];
                }
                None => {
                    filled.push(b'<');
                    rest = &from[1..];
                }
            }
        }
        filled.extend_from_slice(rest);
        filled.extend_from_slice(large);
        filled
    }

    fn accept(&self) -> Result<Peer, String> {
        let listener = self.stage.upstream.as_ref().ok_or("the upstream does not listen")?;
        let stream = eventually("a connection to the upstream", || match listener.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(format!("cannot accept: {error}")),
        })?;
        Peer::new(stream)
    }

    /// Reads a request from the connection there is, or from a new one when it ended without a word.
    fn taken(
        &mut self,
        read: impl Fn(&mut Peer) -> Result<Option<Message>, String>,
    ) -> Result<Message, String> {
        for _ in 0..4 {
            if self.upstream.is_none() {
                self.upstream = Some(self.accept()?);
            }
            if let Some(message) = read(self.up()?)? {
                return Ok(message);
            }
            self.upstream = None;
        }
        Err("expected a request, found only connections without one".to_owned())
    }

    fn answer(&mut self, want: &Want) -> Result<(), String> {
        let bodiless = want.bodiless;
        let client = self.client()?;
        let Some(mut message) = client.head()? else {
            return Err("expected a response, found the end of the connection".to_owned());
        };
        client.body(&mut message, false, bodiless)?;
        self.check(want, &message, false)?;
        if !message.whole {
            return Err(format!("expected a whole response, found {}", short(&message.body)));
        }
        if message.values("x-tapline-error").is_empty() && message.status() != Some(100) {
            self.answers.push(message.body);
        }
        Ok(())
    }

    fn check(&self, want: &Want, message: &Message, request: bool) -> Result<(), String> {
        let found = short(&message.head);
        if let Some(status) = want.status
            && message.status() != Some(status)
        {
            return Err(format!("expected status {status}, found {found} {}", short(&message.body)));
        }
        if let Some(line) = &want.line {
            let line = text(&self.fill_in(line.as_bytes()));
            if message.line() != line {
                return Err(format!("expected the line {line:?}, found {found}"));
            }
        }
        if let Some(head) = &want.head {
            same("the head", &self.fill_in(head), &message.head)?;
        }
        for header in &want.has {
            let line = [b"\r\n".as_slice(), &self.fill_in(header), b"\r\n"].concat();
            if find(&message.head, &line).is_none() {
                return Err(format!("expected the header {}, found {found}", short(header)));
            }
        }
        for name in &want.lacks {
            if !message.values(name).is_empty() {
                return Err(format!("expected no header {name}, found {found}"));
            }
        }
        if let Some(body) = &want.body {
            same("the body", body, &message.body)?;
        }
        if let Some(trailers) = &want.trailers {
            same("the trailers", trailers, &message.trailers)?;
        }
        if let (Some(code), true, false) = (want.code, self.stage.own, request) {
            let body: Value = serde_json::from_slice(&message.body).unwrap_or_default();
            let error = &body["error"];
            let marked = message.values("x-tapline-error");
            if error["code"] != code || error["type"] != "tapline_error" || marked != [code] {
                return Err(format!("expected the error {code:?}, found {found} {}", short(&message.body)));
            }
        }
        Ok(())
    }

    fn unfinished(&mut self) -> Result<(), String> {
        if self.upstream.is_none() {
            // Connecting and failing race; none is as good as one that ends.
            std::thread::sleep(Duration::from_millis(20));
            let waiting = self.stage.upstream.as_ref().and_then(|listener| listener.accept().ok());
            let Some((stream, _)) = waiting else { return Ok(()) };
            self.upstream = Some(Peer::new(stream)?);
        }
        match self.up()?.message(true, false) {
            Ok(Some(message)) if message.whole => Err(format!(
                "expected a request that breaks off, found {} {}",
                short(&message.head),
                short(&message.body)
            )),
            Err(error) if error.contains("nothing came") => Err(error),
            _ => {
                self.upstream = None;
                Ok(())
            }
        }
    }

    fn untouched(&mut self) -> Result<(), String> {
        let Some(listener) = self.stage.upstream.as_ref() else { return Ok(()) };
        match listener.accept() {
            Err(_) => Ok(()),
            Ok((stream, _)) => match Peer::new(stream)?.take(1) {
                Ok(bytes) if bytes.is_empty() => Ok(()),
                other => Err(format!("expected nothing at the upstream, found a connection: {other:?}")),
            },
        }
    }
}

fn same(what: &str, wanted: &[u8], found: &[u8]) -> Result<(), String> {
    if wanted == found {
        return Ok(());
    }
    let differs = wanted.iter().zip(found).position(|(a, b)| a != b).unwrap_or(wanted.len().min(found.len()));
    let from = differs.saturating_sub(40);
    let piece = |bytes: &[u8]| {
        let end = bytes.len().min(differs + 160);
        short(bytes.get(from..end).unwrap_or_default())
    };
    Err(format!(
        "{what}: expected {} bytes, found {}; they differ at byte {differs}: expected …{}, found …{}",
        wanted.len(),
        found.len(),
        piece(wanted),
        piece(found)
    ))
}

/// Compares the store's calls of this case with what they must be, and the bodies with what crossed.
fn spans(stage: &Stage, wanted: &[Span], requests: &[Vec<u8>], answers: &[Vec<u8>]) -> Result<(), String> {
    let calls = eventually("the calls in the store", || {
        let calls = tapline::calls(stage.proxy, &stage.tag)?;
        Ok((calls.len() >= wanted.len()).then_some(calls))
    })
    .map_err(|error| {
        let found = tapline::calls(stage.proxy, &stage.tag).map(|calls| calls.len());
        format!("store: expected {} calls, found {found:?}: {error}", wanted.len())
    })?;
    if calls.len() != wanted.len() {
        return Err(format!("store: expected {} calls, found {}", wanted.len(), calls.len()));
    }
    for (number, (call, span)) in calls.iter().zip(wanted).enumerate() {
        for (place, value) in &span.fields {
            let found = call.pointer(place).unwrap_or(&Value::Null);
            if found != value {
                let reasons = &call["error_message"];
                return Err(format!(
                    "store: call {}: expected {place} = {value}, found {found} (outcome {}, {} {}, {reasons}, notes {})",
                    number + 1,
                    call["outcome"],
                    call["error_source"],
                    call["error_type"],
                    call["notes"]
                ));
            }
        }
    }
    for (side, bodies) in [("request", requests), ("response", answers)] {
        if bodies.len() != calls.len() {
            continue;
        }
        for (call, body) in calls.iter().zip(bodies) {
            if call[format!("{side}_whole")] != Value::Bool(true) || call["http_status"] == 101 {
                continue;
            }
            let id = call["id"].as_str().unwrap_or_default();
            let (status, stored) = tapline::get(stage.proxy, &format!("/api/v1/calls/{id}/{side}"))?;
            if status != 200 {
                return Err(format!("store: the {side} of {id}: expected 200, found {status}"));
            }
            same(&format!("store: the {side}'s body"), body, &stored)?;
        }
    }
    Ok(())
}
