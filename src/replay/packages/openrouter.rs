//! `@openrouter/ai-sdk-provider`.
//!
//! One message for each answer, whatever is in it. Its texts are one text. Thinking is sent as `reasoning_details`: those of
//! the first call that has any, else of the first thinking; each of them once in a request, and those of Claude and Gemini
//! only where they are signed. Beside them the words of the thinking are sent as well. Empty text is sent as `""`, and of
//! a call that the provider ran the call alone.
//!
//! Source: `convertToOpenRouterChatMessages` of 2.8.1 and 2.9.0; measured on 1.14.48 and 1.18.34.

use crate::history::MetaKind;
use crate::replay::package::{Ask, MEASURED, Out, Package, Said, all_inside, no_media, sort};
use crate::replay::turn::{Block, BlockKind};

pub(super) const OPENROUTER: Package = Package {
    name: "@openrouter/ai-sdk-provider",
    namespace: "openrouter",
    takes_interleaved: false,
    details_once: true,
    takes_media: no_media,
    assistant,
    takes_file: |_, _| true,
    inside: all_inside,
    chats: true,
    measured: MEASURED,
};

fn assistant<'a>(ask: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    let details = details(ask, &said);
    let (mut blocks, left_out) = sort(&mut said, |_, block| match block.kind {
        BlockKind::ProviderToolResult => false,
        BlockKind::Thinking => !details.is_empty() && !block.is_silent(),
        _ => true,
    });
    blocks.extend(details);
    blocks.sort_by_key(|block| match block.kind {
        BlockKind::Thinking => 0,
        BlockKind::ReasoningDetail => 1,
        BlockKind::ToolCall | BlockKind::ProviderToolCall => 3,
        _ => 2,
    });
    out.give_whole(&said, blocks, left_out);
}

/// The details that the answer sends, before it is asked which were sent already.
fn details<'a>(ask: &Ask<'_>, said: &Said<'a>) -> Vec<Block<'a>> {
    let of =
        |block: &Block<'a>| ask.meta(said, block, MetaKind::ReasoningDetails).filter(|meta| !meta.details.is_empty());
    let calls = said.blocks.iter().filter(|b| matches!(b.kind, BlockKind::ToolCall | BlockKind::ProviderToolCall));
    let thinking = said.blocks.iter().filter(|b| b.kind == BlockKind::Thinking);
    let Some((block, meta)) = calls.chain(thinking).find_map(|block| Some((block, of(block)?))) else {
        return Vec::new();
    };
    let sent = meta.details.iter().enumerate().filter(|(_, detail)| detail.sendable && detail.key.is_some());
    sent.map(|(at, detail)| Block {
        kind: BlockKind::ReasoningDetail,
        piece: Some(at),
        digest: detail.digest,
        ..block.clone()
    })
    .collect()
}
