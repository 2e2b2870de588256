//! The rows of messages and parts as opencode's answers hold them, from 1.14.48 on.
//!
//! Read in 1.14.48, 1.15.13, 1.17.11 and 1.18.34, and measured: `fixtures/decoding` holds what each version does with
//! every one of these members taken away, null, or of a wrong type (docs/opencode.md §13).

use super::shape::Shape::{
    Any, Flag, Id, List, Map, Natural, Nothing, Number, Object, OneOf, PromptTime, Since, Some, String, Words,
};
use super::shape::{Member, Variant, may, must, when};

const MESSAGE: super::shape::Shape = Id("msg");

/// Messages, by `role`.
pub(super) const MESSAGES: &[Variant] = &[
    when(
        "user",
        &[
            must("time", Object(&[must("created", PromptTime)])),
            // The program stores what a client has asked for, and cannot read it again (opencode's issue 26929).
            may("format", Nothing),
            may("summary", Object(&[may("title", String), may("body", String), must("diffs", List(&Object(DIFF)))])),
            must("agent", String),
            must("model", Object(&[must("providerID", String), must("modelID", String), may("variant", String)])),
            may("system", String),
            may("tools", Map(&Flag)),
        ],
    ),
    when(
        "assistant",
        &[
            must("time", Object(&[must("created", Natural), may("completed", Natural)])),
            may("error", OneOf("name", ERRORS)),
            must("parentID", MESSAGE),
            must("modelID", String),
            must("providerID", String),
            must("mode", String),
            must("agent", String),
            must("path", Object(&[must("cwd", String), must("root", String)])),
            may("summary", Flag),
            must("cost", Number),
            must("tokens", Object(TOKENS)),
            may("structured", Any),
            may("variant", String),
            may("finish", String),
        ],
    ),
];

pub(super) const DIFF: &[Member] = &[
    may("file", String),
    may("patch", String),
    must("additions", Number),
    must("deletions", Number),
    may("status", Words(&["added", "deleted", "modified"])),
];

const TOKENS: &[Member] = &[
    may("total", Number),
    must("input", Number),
    must("output", Number),
    must("reasoning", Number),
    must("cache", Object(&[must("read", Number), must("write", Number)])),
];

const ERRORS: &[Variant] = &[
    when("ProviderAuthError", &[must("data", Object(&[must("providerID", String), must("message", String)]))]),
    when("UnknownError", &[must("data", Object(&[must("message", String), may("ref", REFERENCE)]))]),
    when("MessageOutputLengthError", &[must("data", Some)]),
    when("MessageAbortedError", &[must("data", Object(&[must("message", String)]))]),
    when("StructuredOutputError", &[must("data", Object(&[must("message", String), must("retries", Natural)]))]),
    when("ContextOverflowError", &[must("data", Object(&[must("message", String), may("responseBody", String)]))]),
    Variant {
        since: super::FRACTIONS,
        ..when("ContentFilterError", &[must("data", Object(&[must("message", String)]))])
    },
    when("APIError", API_ERROR),
];

/// Earlier versions do not look at it.
const REFERENCE: super::shape::Shape = Since(super::REFERENCES, &String);

const API_ERROR: &[Member] = &[must(
    "data",
    Object(&[
        must("message", String),
        may("statusCode", Natural),
        must("isRetryable", Flag),
        may("responseHeaders", Map(&String)),
        may("responseBody", String),
        may("metadata", Map(&String)),
    ]),
)];

/// Parts, by `type`.
pub(super) const PARTS: &[Variant] = &[
    when(
        "text",
        &[
            must("text", String),
            may("synthetic", Flag),
            may("ignored", Flag),
            may("time", Object(&[must("start", Natural), may("end", Natural)])),
            may("metadata", Map(&Any)),
        ],
    ),
    when(
        "subtask",
        &[
            must("prompt", String),
            must("description", String),
            must("agent", String),
            may("model", Object(&[must("providerID", String), must("modelID", String)])),
            may("command", String),
        ],
    ),
    when(
        "reasoning",
        &[
            must("text", String),
            may("metadata", Map(&Any)),
            must("time", Object(&[must("start", Natural), may("end", Natural)])),
        ],
    ),
    when("file", FILE),
    when(
        "tool",
        &[
            must("callID", String),
            must("tool", String),
            must("state", OneOf("status", STATES)),
            may("metadata", Map(&Any)),
        ],
    ),
    when("step-start", &[may("snapshot", String)]),
    when(
        "step-finish",
        &[must("reason", String), may("snapshot", String), must("cost", Number), must("tokens", Object(TOKENS))],
    ),
    when("snapshot", &[must("snapshot", String)]),
    when("patch", &[must("hash", String), must("files", List(&String))]),
    when(
        "agent",
        &[
            must("name", String),
            may("source", Object(&[must("value", String), must("start", Natural), must("end", Natural)])),
        ],
    ),
    when(
        "retry",
        &[
            must("attempt", Natural),
            must("error", OneOf("name", &[when("APIError", API_ERROR)])),
            must("time", Object(&[must("created", Natural)])),
        ],
    ),
    when("compaction", &[must("auto", Flag), may("overflow", Flag), may("tail_start_id", MESSAGE)]),
];

const FILE: &[Member] =
    &[must("mime", String), may("filename", String), must("url", String), may("source", OneOf("type", SOURCES))];

const SPAN: Member = must("text", Object(&[must("value", String), must("start", Number), must("end", Number)]));

const POSITION: super::shape::Shape = Object(&[must("line", Natural), must("character", Natural)]);

const SOURCES: &[Variant] = &[
    when("file", &[SPAN, must("path", String)]),
    when(
        "symbol",
        &[
            SPAN,
            must("path", String),
            must("range", Object(&[must("start", POSITION), must("end", POSITION)])),
            must("name", String),
            must("kind", Natural),
        ],
    ),
    when("resource", &[SPAN, must("clientName", String), must("uri", String)]),
];

const STATES: &[Variant] = &[
    when("pending", &[must("input", Map(&Any)), must("raw", String)]),
    when(
        "running",
        &[
            must("input", Map(&Any)),
            may("title", String),
            may("metadata", Map(&Any)),
            must("time", Object(&[must("start", Natural)])),
        ],
    ),
    when(
        "completed",
        &[
            must("input", Map(&Any)),
            must("output", String),
            must("title", String),
            must("metadata", Map(&Any)),
            must("time", Object(&[must("start", Natural), must("end", Natural), may("compacted", Natural)])),
            may("attachments", List(&OneOf("type", &[when("file", ATTACHMENT)]))),
        ],
    ),
    when(
        "error",
        &[
            must("input", Map(&Any)),
            must("error", String),
            may("metadata", Map(&Any)),
            must("time", Object(&[must("start", Natural), must("end", Natural)])),
        ],
    ),
];

/// A file within a tool's result has ids of its own.
const ATTACHMENT: &[Member] = &[
    must("id", Id("prt")),
    must("sessionID", Id("ses")),
    must("messageID", MESSAGE),
    must("mime", String),
    may("filename", String),
    must("url", String),
    may("source", OneOf("type", SOURCES)),
];
