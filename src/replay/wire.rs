//! The request as a provider counts it: consecutive turns of one side are one message, and every block of it has a
//! number. This is what rules about a request look at, and what `messages.258.content.1` in a refusal points into.

use std::collections::HashMap;

use super::Sdk;
use super::request::{BlockKind, Turn, TurnRole};
use crate::history::{Media, Message, Part, PartKind, Pointer, ToolCall, ToolState};

/// A request in the form in which Anthropic's API takes it. The same holds behind LiteLLM, which puts turns together in
/// the same way.
#[derive(Debug, Default)]
pub struct Wire<'a> {
    /// The messages in order.
    pub messages: Vec<Sent<'a>>,
}

/// One message.
#[derive(Debug)]
pub struct Sent<'a> {
    /// The assistant's; else the user's, tools' results among it.
    pub assistant: bool,
    /// What it holds, in order.
    pub blocks: Vec<SentBlock<'a>>,
    /// What the SDK package leaves out of it.
    pub dropped: Vec<SentBlock<'a>>,
}

/// One block of a message.
#[derive(Debug, Clone)]
pub struct SentBlock<'a> {
    /// What it is.
    pub kind: BlockKind,
    /// The row that it comes from.
    pub row: &'a Message,
    /// The part that it comes from; `None` for what opencode adds itself.
    pub part: Option<&'a Part>,
    /// The files in it.
    pub files: Vec<SentFile<'a>>,
}

/// A file in a block.
#[derive(Debug, Clone, Copy)]
pub struct SentFile<'a> {
    /// Which attachment of its part it is; `None` where the part is the file.
    pub attachment: Option<usize>,
    /// Its place in a tool's result.
    pub inner: Option<usize>,
    /// What it is.
    pub media: &'a Media,
}

impl<'a> SentBlock<'a> {
    /// The call that it is, or the result of.
    #[must_use]
    pub fn call(&self) -> Option<&'a ToolCall> {
        match &self.part?.kind {
            PartKind::Tool(call) => Some(call),
            _ => None,
        }
    }
}

impl<'a> Wire<'a> {
    /// Puts the turns of a request together. `seen` are the rows that they come from.
    #[must_use]
    pub fn of(turns: &[Turn<'a>], seen: &[&'a Message], sdk: &Sdk) -> Self {
        let rows: HashMap<&str, &'a Message> = seen.iter().map(|m| (m.id(), *m)).collect();
        let mut out = Self::default();
        for turn in turns {
            let Some(row) = rows.get(turn.message_id).copied() else { continue };
            let assistant = turn.role == TurnRole::Assistant;
            let (mut blocks, mut dropped) = (Vec::new(), Vec::new());
            if turn.role == TurnRole::User && row.assistant().is_some() {
                // Files that the provider takes in no tool's result follow in a message that opencode makes up.
                blocks.push(SentBlock { kind: BlockKind::Text, row, part: None, files: Vec::new() });
            }
            for block in &turn.blocks {
                let part = block.part_id.and_then(|id| row.part(id));
                let files = part.map(|part| files(block.kind, part, block.attachment, sdk)).unwrap_or_default();
                let to = if dropped_by_sdk(block.kind, part, sdk) { &mut dropped } else { &mut blocks };
                to.push(SentBlock { kind: block.kind, row, part, files });
            }
            match out.messages.last_mut() {
                Some(last) if last.assistant == assistant => {
                    last.blocks.extend(blocks);
                    last.dropped.extend(dropped);
                }
                _ => out.messages.push(Sent { assistant, blocks, dropped }),
            }
        }
        out
    }

    /// All blocks with their places.
    pub fn blocks(&self) -> impl Iterator<Item = &SentBlock<'a>> {
        self.messages.iter().flat_map(|m| &m.blocks)
    }

    /// The block, and the file in it, that a refusal points at.
    #[must_use]
    pub fn at(&self, pointer: Pointer) -> Option<(&SentBlock<'a>, Option<SentFile<'a>>)> {
        let block = self.messages.get(pointer.message)?.blocks.get(pointer.block?)?;
        let file = match pointer.inner {
            Some(inner) => block.files.iter().find(|f| f.inner == Some(inner)).copied(),
            None => block.files.first().copied().filter(|_| block.files.len() == 1),
        };
        Some((block, file))
    }
}

/// Whether `@ai-sdk/anthropic` leaves the block out when it writes the request: thinking that it cannot vouch for, and
/// calls that the provider ran with a tool that it does not know (read in 1.14.48 and 1.18.34).
fn dropped_by_sdk(kind: BlockKind, part: Option<&Part>, sdk: &Sdk) -> bool {
    if !sdk.is_anthropic() {
        return false;
    }
    match (kind, part.map(|p| &p.kind)) {
        (BlockKind::Thinking, Some(PartKind::Reasoning { proofs, .. })) => {
            !proofs.iter().any(|p| p.namespace == "anthropic" && (p.signature || p.redacted_data))
        }
        (BlockKind::ProviderToolCall, Some(PartKind::Tool(call))) => !SERVER_TOOLS.contains(&call.tool.as_str()),
        _ => false,
    }
}

/// Tools that Anthropic's own servers run, by the names that the package knows.
const SERVER_TOOLS: [&str; 6] =
    ["web_search", "web_fetch", "code_execution", "tool_search_tool_regex", "tool_search_tool_bm25", "advisor"];

fn files<'a>(kind: BlockKind, part: &'a Part, attachment: Option<usize>, sdk: &Sdk) -> Vec<SentFile<'a>> {
    match (&part.kind, kind) {
        (PartKind::File(media), BlockKind::File) => vec![SentFile { attachment: None, inner: None, media }],
        (PartKind::Tool(call), _) => {
            let ToolState::Completed { compacted: false, silent, attachments } = &call.state else { return Vec::new() };
            let all = attachments.iter().enumerate();
            if kind == BlockKind::File {
                let one = all.filter(|(at, _)| Some(*at) == attachment);
                return one.map(|(at, media)| SentFile { attachment: Some(at), inner: None, media }).collect();
            }
            if kind != BlockKind::ToolResult || !sdk.is_anthropic() {
                return Vec::new();
            }
            let sent = all.filter(|(_, media)| media.base64.is_some());
            sent.enumerate()
                .map(|(place, (at, media))| SentFile {
                    attachment: Some(at),
                    inner: Some(place + usize::from(!silent)),
                    media,
                })
                .collect()
        }
        _ => Vec::new(),
    }
}
