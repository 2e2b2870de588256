//! The shapes of `session_message` and of waiting prompts, as the preview and 2.0.26 decode them (docs/opencode.md §16).
//!
//! A row is decoded from its `data` with `id` and `type` from the columns. What only 2.0.26 knows and nobody has seen
//! stored is not checked, so that a row that decodes is never called undecodable.

use super::shape::{Field, Shape, due, may};

static CREATED: Shape = Shape::Struct(&[due("created", &Shape::Millis)]);
static CREATED_COMPLETED: Shape = Shape::Struct(&[due("created", &Shape::Millis), may("completed", &Shape::Millis)]);
static ERROR: Shape = Shape::Struct(&[due("type", &Shape::String), due("message", &Shape::String)]);
/// `model`: of a row, and of a session's column.
pub(super) static MODEL: Shape =
    Shape::Struct(&[due("id", &Shape::String), due("providerID", &Shape::String), may("variant", &Shape::String)]);
/// `revert` of a session, where one is staged.
pub(super) static REVERT: Shape = Shape::Struct(&[
    due("messageID", &Shape::Starts("msg_")),
    may("partID", &Shape::String),
    may("snapshot", &Shape::String),
]);
static REASON: Shape = Shape::OneOf(&["auto", "manual"]);
static COUNT: Shape = Shape::Int(0.0);

const METADATA: Field = may("metadata", &Shape::Record);
const TIME: Field = due("time", &CREATED);

static MENTION: Shape =
    Shape::Struct(&[due("start", &Shape::Finite), due("end", &Shape::Finite), due("text", &Shape::String)]);
static FILE: Shape = Shape::Struct(&[
    due("data", &Shape::Base64),
    due("mime", &Shape::String),
    due(
        "source",
        &Shape::Tagged(
            "type",
            &[("inline", &Shape::Struct(&[])), ("uri", &Shape::Struct(&[due("uri", &Shape::String)]))],
        ),
    ),
    may("name", &Shape::String),
    may("description", &Shape::String),
    may("mention", &MENTION),
]);
static AGENT: Shape = Shape::Struct(&[due("name", &Shape::String), may("mention", &MENTION)]);

static CONTENT: Shape = Shape::Tagged(
    "type",
    &[
        ("text", &Shape::Struct(&[due("text", &Shape::String)])),
        (
            "file",
            &Shape::Struct(&[due("uri", &Shape::String), due("mime", &Shape::String), may("name", &Shape::String)]),
        ),
    ],
);
static STATE: Shape = Shape::Tagged(
    "status",
    &[
        ("streaming", &Shape::Struct(&[due("input", &Shape::String)])),
        ("running", &Shape::Struct(&[due("input", &Shape::Record), due("metadata", &Shape::Record)])),
        (
            "completed",
            &Shape::Struct(&[
                due("input", &Shape::Record),
                due("content", &Shape::NonEmpty(&CONTENT)),
                may("metadata", &Shape::Record),
            ]),
        ),
        (
            "error",
            &Shape::Struct(&[
                due("input", &Shape::Record),
                due("error", &ERROR),
                may("content", &Shape::NonEmpty(&CONTENT)),
                may("metadata", &Shape::Record),
            ]),
        ),
    ],
);
static TOOL: Shape = Shape::Struct(&[
    due("id", &Shape::String),
    due("name", &Shape::String),
    may("executed", &Shape::Bool),
    may("providerState", &Shape::Record),
    may("providerResultState", &Shape::Record),
    due("state", &STATE),
    due(
        "time",
        &Shape::Struct(&[due("created", &Shape::Millis), may("ran", &Shape::Millis), may("completed", &Shape::Millis)]),
    ),
]);
static PART: Shape = Shape::Tagged(
    "type",
    &[
        ("text", &Shape::Struct(&[due("text", &Shape::String), may("state", &Shape::Record)])),
        (
            "reasoning",
            &Shape::Struct(&[
                due("text", &Shape::String),
                may("state", &Shape::Record),
                may("time", &CREATED_COMPLETED),
            ]),
        ),
        ("tool", &TOOL),
    ],
);
static TOKENS: Shape = Shape::Struct(&[
    due("input", &Shape::Finite),
    due("output", &Shape::Finite),
    due("reasoning", &Shape::Finite),
    due("cache", &Shape::Struct(&[due("read", &Shape::Finite), due("write", &Shape::Finite)])),
]);

static USER: Shape = Shape::Struct(&[
    METADATA,
    TIME,
    due("text", &Shape::String),
    may("skills", &Shape::Any),
    may("files", &Shape::List(&FILE)),
    may("agents", &Shape::List(&AGENT)),
]);
static SYNTHETIC: Shape =
    Shape::Struct(&[METADATA, TIME, due("text", &Shape::String), may("description", &Shape::String)]);
static SYSTEM: Shape = Shape::Struct(&[METADATA, TIME, due("text", &Shape::String)]);
static SKILL: Shape = Shape::Struct(&[
    METADATA,
    TIME,
    due("skill", &Shape::String),
    due("name", &Shape::String),
    due("text", &Shape::String),
]);
static SHELL: Shape = Shape::Struct(&[
    METADATA,
    due("time", &CREATED_COMPLETED),
    due("shellID", &Shape::Starts("sh_")),
    due("command", &Shape::String),
    due("status", &Shape::OneOf(&["running", "exited", "timeout", "killed"])),
    may("exit", &Shape::Number),
    may(
        "output",
        &Shape::Struct(&[
            due("output", &Shape::String),
            due("cursor", &COUNT),
            due("size", &COUNT),
            due("truncated", &Shape::Bool),
        ]),
    ),
]);
static ASSISTANT: Shape = Shape::Struct(&[
    METADATA,
    due("time", &CREATED_COMPLETED),
    due("agent", &Shape::String),
    due("model", &MODEL),
    due("content", &Shape::List(&PART)),
    may(
        "snapshot",
        &Shape::Struct(&[
            may("start", &Shape::String),
            may("end", &Shape::String),
            may("files", &Shape::List(&Shape::String)),
        ]),
    ),
    may("finish", &Shape::OneOf(&["stop", "length", "tool-calls", "content-filter", "error", "unknown"])),
    may("cost", &Shape::Finite),
    may("tokens", &TOKENS),
    may("error", &ERROR),
    may("retry", &Shape::Struct(&[due("attempt", &Shape::Int(1.0)), due("at", &Shape::Millis), due("error", &ERROR)])),
]);
static SUMMARY: Shape = Shape::Struct(&[
    METADATA,
    TIME,
    due("reason", &REASON),
    due("summary", &Shape::String),
    due("recent", &Shape::String),
]);
static COMPACTION: Shape = Shape::Tagged(
    "status",
    &[
        ("running", &SUMMARY),
        ("completed", &SUMMARY),
        ("failed", &Shape::Struct(&[METADATA, TIME, due("reason", &REASON), due("error", &ERROR)])),
    ],
);
static AGENT_SWITCHED: Shape = Shape::Struct(&[METADATA, TIME, due("agent", &Shape::String)]);
static MODEL_SWITCHED: Shape = Shape::Struct(&[METADATA, TIME, due("model", &MODEL), may("previous", &MODEL)]);
static LOCATION_SWITCHED: Shape =
    Shape::Struct(&[METADATA, TIME, due("location", &Shape::Struct(&[due("directory", &Shape::String)]))]);
static IDLE: Shape = Shape::Struct(&[
    METADATA,
    TIME,
    due("outcome", &Shape::OneOf(&["succeeded", "failed", "interrupted"])),
    may("error", &ERROR),
]);

/// A table of shapes by a row's `type`.
pub(super) type Types = &'static [(&'static str, &'static Shape)];

/// The rows that are decoded: by 2.0.26 (read), and but for [`NOT_OF_THE_PREVIEW`] by the preview (measured).
pub(super) static MESSAGES: Types = &[
    ("agent-switched", &AGENT_SWITCHED),
    ("model-switched", &MODEL_SWITCHED),
    ("location-switched", &LOCATION_SWITCHED),
    ("user", &USER),
    ("synthetic", &SYNTHETIC),
    ("system", &SYSTEM),
    ("skill", &SKILL),
    ("shell", &SHELL),
    ("assistant", &ASSISTANT),
    ("compaction", &COMPACTION),
    ("idle", &IDLE),
];

/// The types of rows that the preview does not know.
pub(super) const NOT_OF_THE_PREVIEW: &[&str] = &["location-switched", "idle"];

static PROMPT: Shape = Shape::Struct(&[
    METADATA,
    due("text", &Shape::String),
    may("files", &Shape::List(&FILE)),
    may("agents", &Shape::List(&AGENT)),
]);
static NOTICE: Shape = Shape::Struct(&[METADATA, due("text", &Shape::String), may("description", &Shape::String)]);

/// What waits, by its `type`: prompts and notices. A waiting compaction has no data.
pub(super) static WAITING: Types = &[("user", &PROMPT), ("synthetic", &NOTICE), ("compaction", &Shape::Any)];
