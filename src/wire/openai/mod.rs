//! The dialects of OpenAI's API, with the deviations of the many servers that speak them.

pub(super) mod audio;
pub(super) mod chat;
pub(super) mod chat_request;
pub(super) mod chat_stream;
pub(super) mod choice;
pub(super) mod completions;
pub(super) mod embeddings;
pub(super) mod images;
pub(super) mod moderations;
pub(super) mod realtime;
pub(super) mod responses;
pub(super) mod responses_request;
pub(super) mod responses_stream;
pub(super) mod tool_calls;
pub(super) mod usage;
pub(super) mod videos;
