//! The names under which programs say where a call belongs: headers of gateways and coding agents, body
//! fields, baggage. In order of precedence. Source: the projects' documentation, 2026-11.

/// Sessions, in headers of gateways and routers.
pub(super) const GATEWAY_SESSIONS: [&str; 14] = [
    "helicone-session-id",
    "x-litellm-session-id",
    "x-litellm-trace-id",
    "x-portkey-trace-id",
    "x-bf-session-id",
    "x-langwatch-thread-id",
    "langfuse_session_id",
    "x-thread-id",
    "agent-session-id",
    "x-dynamo-session-id",
    "x-merge-trace-id",
    "x-conversation-id",
    "cf-aig-event-id",
    "langfuse_trace_id",
];

/// Sessions, in headers of coding agents. A thread of Codex is a conversation inside a session of it.
pub(super) const AGENT_SESSIONS: [&str; 12] = [
    "x-claude-code-session-id",
    "x-opencode-session",
    "x-session-id",
    "x-session-affinity",
    "thread-id",
    "session-id",
    "conversation_id",
    "session_id",
    "x-agentweave-session-id",
    "x-1panel-conversation-id",
    "x-codex-session-id",
    "x-codex-thread-id",
];

/// Any vendor's header of this shape, `x-acme-session-id`.
pub(super) const ANY_SESSION: (&str, &str) = ("x-", "-session-id");

/// Headers of that shape which name another session than the call's own.
pub(super) const PARENT_SESSIONS: [&str; 4] = [
    "x-parent-session-id",
    "x-dynamo-parent-session-id",
    "x-codex-parent-thread-id",
    "x-tapline-parent-session",
];

/// Which of a session's agents speaks.
pub(super) const AGENTS: [&str; 2] = ["x-claude-code-agent-id", "x-tapline-agent"];

pub const USERS: [&str; 5] = [
    "x-tapline-user",
    "helicone-user-id",
    "x-litellm-end-user-id",
    "x-litellm-customer-id",
    "x-langwatch-end-user-id",
];

/// Words, comma separated.
pub(super) const TAGS: [&str; 4] = ["x-tapline-tags", "x-litellm-tags", "x-tags", "x-label"];

/// JSON objects.
pub(super) const METADATA: [&str; 6] = [
    "x-tapline-metadata",
    "x-litellm-spend-logs-metadata",
    "x-portkey-metadata",
    "cf-aig-metadata",
    "x-langwatch-metadata",
    "x-tfy-metadata",
];

/// One fact per header, named by what follows.
pub(super) const PROPERTIES: [&str; 2] = ["helicone-property-", "x-bf-dim-"];

/// Sessions, in fields of the body as paths into the request. `prompt_cache_key` is none: programs share it.
pub(super) const SESSION_FIELDS: [&[&str]; 12] = [
    &["litellm_session_id"],
    &["litellm_trace_id"],
    &["session_id"],
    &["metadata", "session_id"],
    &["conversation", "id"],
    &["conversation"],
    &["metadata", "thread_id"],
    &["metadata", "conversation_id"],
    &["tensorzero::episode_id"],
    &["trace", "trace_id"],
    &["metadata", "existing_trace_id"],
    &["metadata", "trace_id"],
];

pub(super) const USER_FIELDS: [&[&str]; 4] =
    [&["user"], &["safety_identifier"], &["metadata", "trace_user_id"], &["metadata", "user_id"]];

/// Keys of W3C baggage.
pub(super) const BAGGAGE_SESSIONS: [&str; 2] = ["session.id", "langfuse_session_id"];
pub(super) const BAGGAGE_USERS: [&str; 3] = ["user.id", "enduser.id", "langfuse_user_id"];
pub(super) const BAGGAGE_EXPERIMENTS: [&str; 1] = ["langsmith-project"];
pub(super) const BAGGAGE_TAGS: [&str; 2] = ["langfuse_tags", "langsmith-tags"];
