//! `@ai-sdk/amazon-bedrock`: the Converse protocol.
//!
//! Thinking is sent where it is vouched for (`bedrock.signature`, `.redactedContent`, `.redactedData`); up to 1.18.20 also
//! without, where it has words. Blank text is sent only beside thinking. A call that the provider ran is sent without its
//! result. Up to 1.15.13 it gives up over a document inside of a tool's result (opencode issue 26087). An answer of which
//! nothing is left is not sent; up to 1.18.20 it is, without content.
//!
//! Source: `convertToBedrockChatMessages` of 4.0.96 and 4.0.166; measured on 1.14.48 and 1.18.34, documents on 1.15.4,
//! 1.15.13, 1.18.14 and 1.18.20 as well.

use crate::history::MetaKind;
use crate::replay::package::{Ask, Inside, MEASURED, Out, Package, Said, sort};
use crate::replay::rules::Version;
use crate::replay::turn::{BlockKind, Carried};

pub(super) const BEDROCK: Package = Package {
    name: "@ai-sdk/amazon-bedrock",
    namespace: "bedrock",
    takes_interleaved: false,
    details_once: false,
    takes_media,
    assistant,
    takes_file: |_, mime| IMAGES.contains(&mime) || DOCUMENTS.contains(&mime),
    inside: |ask, mime| match IMAGES.contains(&mime) {
        true => Inside::Sent,
        false if !ask.since(Version(1, 15, 14)) => Inside::Stops,
        false => Inside::sent(DOCUMENTS.contains(&mime)),
    },
    chats: false,
    measured: MEASURED,
};

const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

const DOCUMENTS: [&str; 9] = [
    "application/pdf",
    "text/csv",
    "application/msword",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.ms-excel",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "text/html",
    "text/plain",
    "text/markdown",
];

/// From 1.14 on images alone, from 1.18.21 on only for models that opencode knows to take them, by their id at the service.
fn takes_media(ask: &Ask<'_>, mime: &str) -> bool {
    let known = || {
        let id = ask.api_id();
        ["anthropic.", "nova", "llama4", "llama-4"].iter().any(|name| id.contains(name))
    };
    !ask.modern() || mime.starts_with("image/") && (!ask.since(Version(1, 18, 21)) || known())
}

fn assistant<'a>(ask: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    let late = ask.since(Version(1, 18, 21));
    let kinds: &[MetaKind] = if late {
        &[MetaKind::Signature, MetaKind::RedactedContent, MetaKind::RedactedData]
    } else {
        &[MetaKind::Signature, MetaKind::RedactedData]
    };
    let vouches = |said: &Said<'a>, block: &_| kinds.iter().find_map(|kind| ask.meta(said, block, *kind));
    let is_thinking = |kind| kind == BlockKind::Thinking;
    let beside = said.blocks.iter().any(|b| is_thinking(b.kind) && (!late || vouches(&said, b).is_some()));
    let (blocks, left_out) = sort(&mut said, |said, block| match block.kind {
        BlockKind::Thinking => {
            let found = vouches(said, block);
            block.carries.extend(found.map(Carried::from));
            crate::replay::package::hide_redacted(block);
            found.is_some() || !late
        }
        BlockKind::BlankText | BlockKind::StandIn | BlockKind::EmptyText => beside,
        BlockKind::ProviderToolResult => false,
        _ => true,
    });
    if !blocks.is_empty() || !late {
        out.give(&said, blocks, left_out);
    }
}
