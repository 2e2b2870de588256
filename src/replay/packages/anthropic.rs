//! `@ai-sdk/anthropic` and `@ai-sdk/google-vertex/anthropic`: Claude in its own protocol.
//!
//! Thinking is sent where Anthropic vouches for it (`anthropic.signature`, `anthropic.redactedData`), a call that the
//! provider ran where its tool is one that Anthropic's servers have. An answer of which nothing is left is sent without
//! content. Only for the first of the two does opencode drop such answers before (see `transform.rs`).
//!
//! Source: `convertToAnthropicMessagesPrompt` of 3.0.71 and 3.0.111; measured on 1.14.48 and 1.18.34.

use crate::history::{MetaKind, Output, ToolState};
use crate::replay::package::{Ask, Inside, MEASURED, Out, Package, Said, sort};
use crate::replay::rules::Version;
use crate::replay::turn::{Block, BlockKind, Carried};

pub(super) const ANTHROPIC: Package = Package {
    name: "@ai-sdk/anthropic",
    namespace: "anthropic",
    takes_interleaved: false,
    details_once: false,
    takes_media: |_, _| true,
    assistant,
    takes_file: |_, mime| mime.starts_with("image/") || ["application/pdf", "text/plain"].contains(&mime),
    inside: |_, mime| Inside::sent(mime.starts_with("image/") || mime == "application/pdf"),
    chats: false,
    measured: MEASURED,
};

pub(super) const VERTEX_ANTHROPIC: Package = Package { name: "@ai-sdk/google-vertex/anthropic", ..ANTHROPIC };

/// Tools that Anthropic's own servers run, by the names that the package knows.
const SERVER_TOOLS: [&str; 6] =
    ["web_search", "web_fetch", "code_execution", "tool_search_tool_regex", "tool_search_tool_bm25", "advisor"];

fn assistant<'a>(ask: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    let (mut blocks, left_out) = sort(&mut said, |said, block| match block.kind {
        BlockKind::Thinking => {
            let vouches = [MetaKind::Signature, MetaKind::RedactedData];
            let found = vouches.iter().find_map(|kind| ask.meta(said, block, *kind));
            block.carries.extend(found.map(Carried::from));
            crate::replay::package::hide_redacted(block);
            found.is_some()
        }
        BlockKind::ProviderToolCall => {
            block.carries = ask.unknown(said, block);
            served(block) || !block.carries.is_empty()
        }
        BlockKind::ProviderToolResult => sends_result(ask, block),
        _ => {
            block.carries = ask.unknown(said, block);
            true
        }
    });
    if ask.since(Version(1, 18, 20)) {
        calls_last(&mut blocks);
    }
    out.give(&said, blocks, left_out);
}

fn served(block: &Block<'_>) -> bool {
    block.call().is_some_and(|call| SERVER_TOOLS.contains(&call.tool.as_str()))
}

/// A result of the servers' is sent where it has the form that they gave it. opencode keeps it as a text, which is not;
/// only failures are passed on.
fn sends_result(ask: &Ask<'_>, block: &Block<'_>) -> bool {
    let Some(call) = block.call() else { return false };
    let failed = !matches!(call.state, ToolState::Completed { .. } | ToolState::Error { has_output: true, .. });
    let missing = matches!(call.state, ToolState::Completed { output: Output::Missing, .. });
    match call.tool.as_str() {
        "code_execution" | "web_fetch" => failed,
        "web_search" => failed && ask.since(Version(1, 18, 20)),
        "advisor" => missing,
        _ => false,
    }
}

/// Calls stand behind everything else up to the next thinking.
fn calls_last(blocks: &mut Vec<Block<'_>>) {
    let mut out = Vec::with_capacity(blocks.len());
    for stretch in blocks.chunk_by(|a, b| a.kind != BlockKind::Thinking && b.kind != BlockKind::Thinking) {
        let is_call = |block: &&Block<'_>| block.kind == BlockKind::ToolCall;
        out.extend(stretch.iter().filter(|b| !is_call(b)).cloned());
        out.extend(stretch.iter().filter(is_call).cloned());
    }
    *blocks = out;
}
