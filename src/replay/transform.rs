//! What is left out or changed between a history's messages and the package: by the core of the AI SDK
//! (`convertToLanguageModelPrompt`), and by opencode's `ProviderTransform.message`, which runs behind it.
//!
//! Read in 1.14.48 and 1.18.34 and measured on both; where the rule sets differ, the comment says so. Not followed, for
//! no verdict depends on it: lone surrogates, characters of call ids that Claude and Mistral do not take, cache marks,
//! and the empty thinking that is added for DeepSeek's models, which no package sends.
//!
//! What opencode does about files and old results (read in 1.14.48 and 1.18.34; what is sent was measured on both):
//!
//! - Images of prompts become "ERROR: Cannot read … (this model does not support image input)" unless the model is
//!   known to take images (`modalities.input` of the configuration or the catalogue). Those in results are sent if the
//!   package takes them there.
//! - New images are shrunk to 2000 pixels a side and 4.5 MB (`attachment.image` of the configuration), stored ones are
//!   not.
//! - `state.time.compacted` of a call leaves out its output and attachments. A compaction's own request has no media: a
//!   prompt's file becomes `[Attached image/png: NAME]`, a result loses its attachments.

use super::package::{Ask, Said};
use super::rules::Version;
use super::turn::{Block, BlockKind, TurnRole};
use crate::history::{MetaKind, PartKind, metadata};

/// The messages that reach the package: none where nothing is left of one, two where it is cut.
pub(super) fn transform<'a>(ask: &Ask<'_>, mut said: Said<'a>) -> Vec<Said<'a>> {
    empty_texts(&mut said);
    unreadable_files(ask, &mut said);
    if !unsendable(ask, &mut said) {
        return Vec::new();
    }
    if !ask.is_mistral() && ask.interleaved().is_some() && !ask.package.takes_interleaved {
        // Moved to a field of the message that this package does not know.
        leave_out(&mut said, |said, block| is_thinking(said, block));
    }
    cut_at_calls(ask, said)
}

fn leave_out<'a>(said: &mut Said<'a>, which: impl Fn(&Said<'a>, &Block<'a>) -> bool) {
    let blocks = std::mem::take(&mut said.blocks);
    let (out, rest): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| which(said, block));
    said.blocks = rest;
    said.left_out.extend(out);
}

fn is_thinking(_: &Said<'_>, block: &Block<'_>) -> bool {
    block.kind == BlockKind::Thinking
}

/// The core drops `""`: the user's always, the assistant's unless it carries metadata, be that empty.
fn empty_texts(said: &mut Said<'_>) {
    let user = said.role == TurnRole::User;
    leave_out(said, |said, block| block.kind == BlockKind::EmptyText && (user || said.metadata(block).is_none()));
}

/// Files of a prompt that the model is not known to take become a text that says so.
fn unreadable_files(ask: &Ask<'_>, said: &mut Said<'_>) {
    if said.role != TurnRole::User {
        return;
    }
    for block in &mut said.blocks {
        if let Some(media) = block.media()
            && ask.sdk.reads(&media.mime) == Some(false)
        {
            block.kind = BlockKind::UnreadableFile;
        }
    }
}

/// For two packages, opencode itself drops empty texts and thinking that they could not send, and messages of which
/// nothing is left. Returns whether anything is.
fn unsendable(ask: &Ask<'_>, said: &mut Said<'_>) -> bool {
    let bedrock = match ask.package() {
        "@ai-sdk/anthropic" => false,
        "@ai-sdk/amazon-bedrock" => true,
        _ => return true,
    };
    leave_out(said, |said, block| match (block.kind, block.part.map(|part| &part.kind)) {
        (BlockKind::EmptyText, _) => true,
        (BlockKind::Thinking, Some(PartKind::Reasoning { text, .. })) if !ask.modern() => text.empty,
        (BlockKind::Thinking, Some(PartKind::Reasoning { text, .. })) => {
            // 1.18.21 and later keep only signed thinking for Bedrock.
            let signed_only = bedrock && ask.since(Version(1, 18, 21));
            (text.blank || signed_only) && !vouched_for(ask, said, block, bedrock)
        }
        _ => false,
    });
    !said.blocks.is_empty()
}

/// Whether the provider vouches for the thinking, in the eyes of `ProviderTransform`.
fn vouched_for(ask: &Ask<'_>, said: &Said<'_>, block: &Block<'_>, bedrock: bool) -> bool {
    let holds = |namespaces: &[&str], kinds: &[MetaKind]| {
        kinds.iter().any(|kind| metadata::find(said.metadata(block), namespaces, *kind).is_some())
    };
    use MetaKind::{RedactedContent, RedactedData, Signature};
    match (bedrock, ask.since(Version(1, 18, 21))) {
        (false, _) => holds(&["anthropic"], &[Signature, RedactedData]),
        (true, true) => holds(&[ask.provider(), "bedrock"], &[Signature, RedactedContent, RedactedData]),
        (true, false) => holds(&["bedrock"], &[Signature, RedactedData]),
    }
}

/// Up to 1.15.13, for Claude's own protocol, an answer that goes on behind a call becomes two: what is no call, and the
/// calls.
fn cut_at_calls<'a>(ask: &Ask<'_>, said: Said<'a>) -> Vec<Said<'a>> {
    let is_call = |block: &Block<'a>| matches!(block.kind, BlockKind::ToolCall | BlockKind::ProviderToolCall);
    let applies = ask.modern() && !ask.since(Version(1, 15, 14)) && ask.sdk.is_anthropic();
    let goes_on = || said.blocks.iter().skip_while(|b| !is_call(b)).any(|b| !is_call(b));
    if !applies || said.role != TurnRole::Assistant || !goes_on() {
        return vec![said];
    }
    let (calls, rest): (Vec<_>, Vec<_>) = said.blocks.iter().cloned().partition(is_call);
    let calls = Said { blocks: calls, left_out: Vec::new(), ..said.clone() };
    vec![Said { blocks: rest, ..said }, calls]
}
