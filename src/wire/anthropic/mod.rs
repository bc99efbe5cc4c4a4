//! Anthropic's Messages API.

pub(super) mod messages;
pub(super) mod stream;
