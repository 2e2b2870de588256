//! Packages that speak OpenAI's chat completions, each in its dialect: one message for each answer, whatever is in it. The
//! texts of an answer are one text, which is sent as `""` where it is empty, its calls a list beside it. Of a call that the
//! provider ran the call alone is sent (but see `MISTRAL`).
//!
//! Source: `convertToOpenAICompatibleChatMessages` (2.0.41), `convertToMistralChatMessages` (3.0.27, 3.0.51),
//! `convertToGroqChatMessages` (3.0.31), `convertToXaiChatMessages` (3.0.82, 3.0.102), `convertToOpenAIChatMessages`
//! (`@ai-sdk/openai` 3.0.53, 3.0.84), opencode's own copy for Copilot; measured on 1.14.48 and 1.18.34.

use crate::history::{MetaKind, metadata};
use crate::replay::package::{Ask, MEASURED, Out, Package, Said, all_inside, images, no_media, sort};
use crate::replay::turn::{Block, BlockKind, Carried, StopKind};

/// Thinking is a field of the message, `reasoning_content` unless the model's configuration names another. Calls carry
/// Google's thought signature, and every message and call what stands under `openaiCompatible`. This is what people use for
/// LiteLLM.
pub(super) const COMPATIBLE: Package = Package {
    name: "@ai-sdk/openai-compatible",
    namespace: "openaiCompatible",
    takes_interleaved: true,
    details_once: false,
    takes_media: no_media,
    assistant: compatible,
    takes_file: |_, mime| {
        images(mime) || mime == "application/pdf" || mime.starts_with("text/") || AUDIO.contains(&mime)
    },
    inside: all_inside,
    chats: true,
    measured: MEASURED,
};

const AUDIO: [&str; 3] = ["audio/wav", "audio/mp3", "audio/mpeg"];

/// Thinking is part of the text. A result of a call that the provider ran is more than it takes: it gives up.
pub(super) const MISTRAL: Package = Package {
    name: "@ai-sdk/mistral",
    namespace: "mistral",
    takes_interleaved: false,
    assistant: mistral,
    takes_file: |_, mime| images(mime) || mime == "application/pdf",
    ..COMPATIBLE
};

/// Thinking is a field of the message.
pub(super) const GROQ: Package =
    Package { name: "@ai-sdk/groq", namespace: "groq", assistant: groq, takes_file: |_, mime| images(mime), ..MISTRAL };

/// An answer as one message: thinking, what vouches for it, text, calls.
fn message<'a>(mut said: Said<'a>, out: &mut Out<'a>, mut sends: impl FnMut(&Said<'a>, &mut Block<'a>) -> bool) {
    let (mut blocks, left_out) =
        sort(&mut said, |said, block| block.kind != BlockKind::ProviderToolResult && sends(said, block));
    blocks.sort_by_key(|block| match block.kind {
        BlockKind::Thinking | BlockKind::EmptyThinking => 0,
        BlockKind::ToolCall | BlockKind::ProviderToolCall => 2,
        _ => 1,
    });
    out.give_whole(&said, blocks, left_out);
}

fn compatible<'a>(ask: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    // Metadata under the provider's own id is not renamed for this package.
    let [_, own] = ask.namespaces();
    message(said, out, |said, block| {
        if matches!(block.kind, BlockKind::ToolCall | BlockKind::ProviderToolCall) {
            let signed = metadata::find(said.metadata(block), &["google"], MetaKind::ThoughtSignature);
            let fields = metadata::namespace(said.metadata(block), &[own]);
            block.carries = signed.into_iter().chain(fields).map(Carried::from).collect();
        }
        true
    });
}

fn mistral<'a>(_: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    let served = said.blocks.iter().filter(|block| block.kind == BlockKind::ProviderToolCall);
    served.for_each(|block| out.stop(&said, block, StopKind::ProviderCall));
    // Thinking stands in the text where it came, so the order of the two matters.
    let mut said = said;
    let (mut blocks, left_out) = sort(&mut said, |_, block| block.kind != BlockKind::ProviderToolResult);
    blocks.sort_by_key(|b| matches!(b.kind, BlockKind::ToolCall | BlockKind::ProviderToolCall));
    out.give_whole(&said, blocks, left_out);
}

fn groq<'a>(_: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    message(said, out, |_, _| true);
}

/// `@ai-sdk/xai` asked for chat completions: no thinking.
pub(super) fn xai<'a>(_: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    message(said, out, |_, block| block.kind != BlockKind::Thinking);
}

/// `@ai-sdk/openai` asked for chat completions: no thinking.
pub(super) fn openai<'a>(_: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    message(said, out, |_, block| block.kind != BlockKind::Thinking);
}

/// `@ai-sdk/github-copilot` asked for chat completions: the last thinking with words, where something of the answer carries
/// `reasoningOpaque`, and the first of that.
pub(super) fn copilot<'a>(ask: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    let opaque = |block: &Block<'a>| ask.meta(&said, block, MetaKind::ReasoningOpaque).map(Carried::from);
    let first = said.blocks.iter().find_map(|block| Some((block.clone(), opaque(block)?)));
    let last = said.blocks.iter().rposition(|b| b.kind == BlockKind::Thinking && !b.is_silent());
    let words = last.and_then(|at| said.blocks.get(at)).and_then(Block::part_id);
    let carrier = first.as_ref().map(|(block, carried)| Block {
        kind: BlockKind::Thinking,
        digest: crate::history::Digest::default(),
        carries: vec![*carried],
        ..block.clone()
    });
    let mut said = said;
    let (mut blocks, left_out) = sort(&mut said, |_, block| match block.kind {
        BlockKind::ProviderToolResult => false,
        BlockKind::Thinking => carrier.is_some() && block.part_id() == words,
        _ => true,
    });
    blocks.extend(carrier);
    blocks.sort_by_key(|block| match block.kind {
        BlockKind::Thinking if block.carries.is_empty() => 0,
        BlockKind::Thinking => 1,
        BlockKind::ToolCall | BlockKind::ProviderToolCall => 3,
        _ => 2,
    });
    out.give_whole(&said, blocks, left_out);
}
