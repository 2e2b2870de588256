//! The shapes of opencode 1's rows, as the import decodes them (docs/opencode.md §16; read, the preview's schema is the
//! one that it is made of).

use super::super::shape::{Shape, due, may};

static WHOLE: Shape = Shape::Int(0.0);
static SPAN: Shape = Shape::Struct(&[due("start", &WHOLE), may("end", &WHOLE)]);
static TIMES: Shape = Shape::Struct(&[due("start", &WHOLE), due("end", &WHOLE)]);
static WORDS: Shape = Shape::RecordOf(&Shape::String);
static TOKENS: Shape = Shape::Struct(&[
    may("total", &Shape::Finite),
    due("input", &Shape::Finite),
    due("output", &Shape::Finite),
    due("reasoning", &Shape::Finite),
    due("cache", &Shape::Struct(&[due("read", &Shape::Finite), due("write", &Shape::Finite)])),
]);

static MESSAGE: Shape = Shape::Struct(&[due("message", &Shape::String)]);
static API_DATA: Shape = Shape::Struct(&[
    due("message", &Shape::String),
    may("statusCode", &WHOLE),
    due("isRetryable", &Shape::Bool),
    may("responseHeaders", &WORDS),
    may("responseBody", &Shape::String),
    may("metadata", &WORDS),
]);
static API_ERROR: Shape = Shape::Struct(&[due("name", &Shape::OneOf(&["APIError"])), due("data", &API_DATA)]);
static ERROR: Shape = Shape::Tagged(
    "name",
    &[
        (
            "ProviderAuthError",
            &Shape::Struct(&[due(
                "data",
                &Shape::Struct(&[due("providerID", &Shape::String), due("message", &Shape::String)]),
            )]),
        ),
        (
            "UnknownError",
            &Shape::Struct(&[due(
                "data",
                &Shape::Struct(&[due("message", &Shape::String), may("ref", &Shape::String)]),
            )]),
        ),
        ("MessageOutputLengthError", &Shape::Struct(&[due("data", &Shape::Record)])),
        ("MessageAbortedError", &Shape::Struct(&[due("data", &MESSAGE)])),
        (
            "StructuredOutputError",
            &Shape::Struct(&[due("data", &Shape::Struct(&[due("message", &Shape::String), due("retries", &WHOLE)]))]),
        ),
        (
            "ContextOverflowError",
            &Shape::Struct(&[due(
                "data",
                &Shape::Struct(&[due("message", &Shape::String), may("responseBody", &Shape::String)]),
            )]),
        ),
        ("ContentFilterError", &Shape::Struct(&[due("data", &MESSAGE)])),
        ("APIError", &API_ERROR),
    ],
);

static DIFF: Shape = Shape::Struct(&[
    may("file", &Shape::String),
    may("patch", &Shape::String),
    due("additions", &Shape::Finite),
    due("deletions", &Shape::Finite),
    may("status", &Shape::OneOf(&["added", "deleted", "modified"])),
]);
static USER: Shape = Shape::Struct(&[
    due("time", &Shape::Struct(&[due("created", &Shape::Timestamp)])),
    may(
        "format",
        &Shape::Tagged(
            "type",
            &[
                ("text", &Shape::Any),
                ("json_schema", &Shape::Struct(&[due("schema", &Shape::Record), may("retryCount", &WHOLE)])),
            ],
        ),
    ),
    may(
        "summary",
        &Shape::Struct(&[may("title", &Shape::String), may("body", &Shape::String), due("diffs", &Shape::List(&DIFF))]),
    ),
    due("agent", &Shape::String),
    due(
        "model",
        &Shape::Struct(&[
            due("providerID", &Shape::String),
            due("modelID", &Shape::String),
            may("variant", &Shape::String),
        ]),
    ),
    may("system", &Shape::String),
    may("tools", &Shape::RecordOf(&Shape::Bool)),
]);
static ASSISTANT: Shape = Shape::Struct(&[
    due("time", &Shape::Struct(&[due("created", &WHOLE), may("completed", &WHOLE)])),
    may("error", &ERROR),
    due("parentID", &Shape::Starts("msg")),
    due("modelID", &Shape::String),
    due("providerID", &Shape::String),
    due("mode", &Shape::String),
    due("agent", &Shape::String),
    due("path", &Shape::Struct(&[due("cwd", &Shape::String), due("root", &Shape::String)])),
    may("summary", &Shape::Bool),
    due("cost", &Shape::Finite),
    due("tokens", &TOKENS),
    may("variant", &Shape::String),
    may("finish", &Shape::String),
]);
/// A message's `data`.
pub(super) static INFO: Shape = Shape::Tagged("role", &[("user", &USER), ("assistant", &ASSISTANT)]);

static PLACE: Shape = Shape::Struct(&[due("line", &WHOLE), due("character", &WHOLE)]);
static SOURCE_TEXT: Shape =
    Shape::Struct(&[due("value", &Shape::String), due("start", &Shape::Finite), due("end", &Shape::Finite)]);
static SOURCE: Shape = Shape::Tagged(
    "type",
    &[
        ("file", &Shape::Struct(&[due("text", &SOURCE_TEXT), due("path", &Shape::String)])),
        (
            "symbol",
            &Shape::Struct(&[
                due("text", &SOURCE_TEXT),
                due("path", &Shape::String),
                due("range", &Shape::Struct(&[due("start", &PLACE), due("end", &PLACE)])),
                due("name", &Shape::String),
                due("kind", &WHOLE),
            ]),
        ),
        (
            "resource",
            &Shape::Struct(&[due("text", &SOURCE_TEXT), due("clientName", &Shape::String), due("uri", &Shape::String)]),
        ),
    ],
);
static FILE: Shape = Shape::Struct(&[
    due("mime", &Shape::String),
    may("filename", &Shape::String),
    due("url", &Shape::String),
    may("source", &SOURCE),
]);
/// A file that is the result of a call has ids of its own.
static ATTACHMENT: Shape = Shape::Struct(&[
    due("id", &Shape::Starts("prt")),
    due("sessionID", &Shape::Starts("ses")),
    due("messageID", &Shape::Starts("msg")),
    due("type", &Shape::OneOf(&["file"])),
    due("mime", &Shape::String),
    may("filename", &Shape::String),
    due("url", &Shape::String),
    may("source", &SOURCE),
]);
static STATE: Shape = Shape::Tagged(
    "status",
    &[
        ("pending", &Shape::Struct(&[due("input", &Shape::Record), due("raw", &Shape::String)])),
        (
            "running",
            &Shape::Struct(&[
                due("input", &Shape::Record),
                may("title", &Shape::String),
                may("metadata", &Shape::Record),
                due("time", &Shape::Struct(&[due("start", &WHOLE)])),
            ]),
        ),
        (
            "completed",
            &Shape::Struct(&[
                due("input", &Shape::Record),
                due("output", &Shape::String),
                due("title", &Shape::String),
                due("metadata", &Shape::Record),
                due("time", &Shape::Struct(&[due("start", &WHOLE), due("end", &WHOLE), may("compacted", &WHOLE)])),
                may("attachments", &Shape::List(&ATTACHMENT)),
            ]),
        ),
        (
            "error",
            &Shape::Struct(&[
                due("input", &Shape::Record),
                due("error", &Shape::String),
                may("metadata", &Shape::Record),
                due("time", &TIMES),
            ]),
        ),
    ],
);
/// A part's `data`.
pub(super) static PART: Shape = Shape::Tagged(
    "type",
    &[
        (
            "text",
            &Shape::Struct(&[
                due("text", &Shape::String),
                may("synthetic", &Shape::Bool),
                may("ignored", &Shape::Bool),
                may("time", &SPAN),
                may("metadata", &Shape::Record),
            ]),
        ),
        (
            "subtask",
            &Shape::Struct(&[
                due("prompt", &Shape::String),
                due("description", &Shape::String),
                due("agent", &Shape::String),
                may("model", &Shape::Struct(&[due("providerID", &Shape::String), due("modelID", &Shape::String)])),
                may("command", &Shape::String),
            ]),
        ),
        (
            "reasoning",
            &Shape::Struct(&[due("text", &Shape::String), may("metadata", &Shape::Record), due("time", &SPAN)]),
        ),
        ("file", &FILE),
        (
            "tool",
            &Shape::Struct(&[
                due("callID", &Shape::String),
                due("tool", &Shape::String),
                due("state", &STATE),
                may("metadata", &Shape::Record),
            ]),
        ),
        ("step-start", &Shape::Struct(&[may("snapshot", &Shape::String)])),
        (
            "step-finish",
            &Shape::Struct(&[
                due("reason", &Shape::String),
                may("snapshot", &Shape::String),
                due("cost", &Shape::Finite),
                due("tokens", &TOKENS),
            ]),
        ),
        ("snapshot", &Shape::Struct(&[due("snapshot", &Shape::String)])),
        ("patch", &Shape::Struct(&[due("hash", &Shape::String), due("files", &Shape::List(&Shape::String))])),
        (
            "agent",
            &Shape::Struct(&[
                due("name", &Shape::String),
                may(
                    "source",
                    &Shape::Struct(&[due("value", &Shape::String), due("start", &WHOLE), due("end", &WHOLE)]),
                ),
            ]),
        ),
        (
            "retry",
            &Shape::Struct(&[
                due("attempt", &WHOLE),
                due("error", &API_ERROR),
                due("time", &Shape::Struct(&[due("created", &WHOLE)])),
            ]),
        ),
        (
            "compaction",
            &Shape::Struct(&[
                due("auto", &Shape::Bool),
                may("overflow", &Shape::Bool),
                may("tail_start_id", &Shape::Starts("msg")),
            ]),
        ),
    ],
);
