//! Collectors for tests: they take OTLP over HTTP or gRPC, answer as they are told, and remember.

use std::{
    collections::{HashSet, VecDeque},
    io::Read,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use prost::Message;
use tokio::net::TcpListener;
use tonic::{Code, Status, codec::CompressionEncoding};

/// What to say to the next request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// The HTTP status, or its like in gRPC, and `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// Taken, but so many spans dropped.
    Partial(i64),
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) spans: Vec<Span>,
    pub(super) requests: Vec<Instant>,
    pub(super) headers: HeaderMap,
    /// Said once each, in order; then everything is taken.
    pub(super) script: VecDeque<Reply>,
    /// Said always, where set.
    pub(super) always: Option<u16>,
    /// Span ids that spoil a request.
    pub(super) poison: HashSet<Vec<u8>>,
    /// More spans than this in one request are too much.
    pub(super) most: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Collector {
    pub(super) memory: Arc<Mutex<Memory>>,
}

impl Collector {
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap())
    }

    /// The span ids taken, in order.
    pub(super) fn ids(&self) -> Vec<Vec<u8>> {
        self.with(|memory| memory.spans.iter().map(|span| span.span_id.clone()).collect())
    }

    fn take(
        &self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, (u16, Option<u64>)> {
        self.with(|memory| {
            memory.requests.push(Instant::now());
            let spans: Vec<Span> = request
                .resource_spans
                .into_iter()
                .flat_map(|resource| resource.scope_spans)
                .flat_map(|scope| scope.spans)
                .collect();
            let mut dropped = 0;
            match memory.script.pop_front() {
                Some(Reply::Status(status, after)) => return Err((status, after)),
                Some(Reply::Partial(count)) => dropped = count,
                None => {}
            }
            if let Some(status) = memory.always {
                return Err((status, None));
            }
            if memory.most.is_some_and(|most| spans.len() > most) {
                return Err((413, None));
            }
            if spans.iter().any(|span| memory.poison.contains(&span.span_id)) {
                return Err((400, None));
            }
            memory.spans.extend(spans);
            let partial_success = (dropped > 0).then(|| ExportTracePartialSuccess {
                rejected_spans: dropped,
                error_message: "quota".to_owned(),
            });
            Ok(ExportTraceServiceResponse { partial_success })
        })
    }

    pub(super) async fn http(&self, listener: TcpListener) {
        let router = Router::new().route("/v1/traces", post(over_http)).with_state(self.clone());
        axum::serve(listener, router).await.unwrap();
    }

    pub(super) async fn grpc(&self, listener: TcpListener) {
        let service = TraceServiceServer::new(self.clone()).accept_compressed(CompressionEncoding::Gzip);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let executor = hyper_util::rt::TokioExecutor::new();
                let connection = hyper::server::conn::http2::Builder::new(executor)
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
                // The exporter hangs up when its test is over.
                drop(connection.await);
            });
        }
    }
}

async fn over_http(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Response {
    let body = if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        plain
    } else {
        body.to_vec()
    };
    collector.with(|memory| memory.headers = headers);
    match collector.take(ExportTraceServiceRequest::decode(body.as_slice()).unwrap()) {
        Ok(response) => response.encode_to_vec().into_response(),
        Err((status, after)) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), "as told").into_response();
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", after.into());
            }
            response
        }
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.with(|memory| memory.headers = request.metadata().clone().into_headers());
        self.take(request.into_inner()).map(tonic::Response::new).map_err(|(status, _)| {
            let code = match status {
                400 => Code::InvalidArgument,
                401 => Code::Unauthenticated,
                413 => Code::ResourceExhausted,
                503 => Code::Unavailable,
                other => panic!("no gRPC code for {other}"),
            };
            Status::new(code, "as told")
        })
    }
}
