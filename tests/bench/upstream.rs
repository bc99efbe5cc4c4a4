//! The simulated upstream: checks every byte of a request against what its number says it must be, and
//! answers in the shape that the query asks for, at once. One thread, one write per answer or event.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    bodies::{self, Shape},
    load::unix_nanos,
    roles, wire,
};

pub fn run() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        roles::ready(listener.local_addr()?.port())?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                // A client that goes ends its connection; there is nobody to tell.
                connection(stream).await.ok();
            });
        }
    })
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut waiting, mut expected, mut answer) = (Vec::with_capacity(16 << 10), Vec::new(), Vec::new());
    loop {
        let head = loop {
            if let Some(head) = wire::head(&waiting) {
                break head;
            }
            if stream.read_buf(&mut waiting).await? == 0 {
                return Ok(());
            }
        };
        let length = head.content_length.unwrap_or_default();
        while waiting.len() < head.length + length {
            waiting.reserve(head.length + length - waiting.len());
            if stream.read_buf(&mut waiting).await? == 0 {
                return Ok(());
            }
        }
        let shape = shape(&waiting[..head.length]);
        let body = &waiting[head.length..head.length + length];
        let number = shape.and_then(|shape| {
            let number = shape.number(body)?;
            shape.request(number, &mut expected);
            (expected == body).then_some((shape, number))
        });
        match number {
            Some((Shape::Stream { events, gap_us }, number)) => {
                events_of(&mut stream, number, events, gap_us, &mut answer).await?;
            }
            Some((shape, number)) => {
                shape.answer(number, &mut expected);
                answer.clear();
                answer.extend_from_slice(
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                         x-request-id: req-{number:012}\r\nopenai-processing-ms: 12\r\n\r\n",
                        expected.len()
                    )
                    .as_bytes(),
                );
                answer.extend_from_slice(&expected);
                stream.write_all(&answer).await?;
            }
            None => {
                let refusal = b"HTTP/1.1 500 Not What Was Sent\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(refusal).await?;
            }
        }
        waiting.drain(..head.length + length);
    }
}

/// The query of the request line says what is asked for.
fn shape(head: &[u8]) -> Option<Shape> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let target = line.split(' ').nth(1)?;
    Shape::parse(target.split_once('?')?.1)
}

async fn events_of(
    stream: &mut TcpStream,
    number: u64,
    events: u32,
    gap_us: u64,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\
         x-request-id: req-{number:012}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut event = Vec::with_capacity(512);
    for index in 0..events + 2 {
        if gap_us > 0 && index > 0 && index < events {
            tokio::time::sleep(Duration::from_micros(gap_us)).await;
        }
        bodies::event(number, index, events, unix_nanos(), &mut event);
        out.clear();
        out.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
        out.extend_from_slice(&event);
        out.extend_from_slice(b"\r\n");
        stream.write_all(out).await?;
    }
    stream.write_all(b"0\r\n\r\n").await
}
