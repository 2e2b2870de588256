//! `@ai-sdk/google` and `@ai-sdk/google-vertex`: Gemini.
//!
//! Every text, thought and call carries its `thoughtSignature`, under the package's own namespace or the other's. Empty
//! texts and thoughts are left out, signed or not. An answer of which nothing is left is an entry without parts up to
//! 1.15.13; since 1.17.11 opencode's own change of the package leaves it out, since 1.18.20 for `@ai-sdk/google` alone.
//! Of a call that the provider ran the call is sent; its result too where it has both of the server's ids. Media stand in a
//! tool's result for Gemini 3 alone, and not through Vertex.
//!
//! Source: `convertToGoogleGenerativeAIMessages` of 3.0.63, 3.0.73 and 3.0.108, and opencode's change; measured on 1.14.48
//! and 1.18.34.

use crate::history::{MetaKind, metadata};
use crate::replay::package::{Ask, MEASURED, Out, Package, Said, all_inside, no_media, sort};
use crate::replay::rules::Version;
use crate::replay::turn::{BlockKind, Carried};

pub(super) const GOOGLE: Package = Package {
    name: "@ai-sdk/google",
    namespace: "google",
    takes_interleaved: false,
    details_once: false,
    takes_media: |ask, _| {
        let id = ask.api_id();
        id.contains("gemini-3") && !id.contains("gemini-2")
    },
    assistant,
    takes_file: |_, _| true,
    inside: all_inside,
    chats: false,
    measured: MEASURED,
};

pub(super) const VERTEX: Package =
    Package { name: "@ai-sdk/google-vertex", namespace: "vertex", takes_media: no_media, ..GOOGLE };

fn assistant<'a>(ask: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    let [provider, own] = ask.namespaces();
    let other = if own == "google" { "vertex" } else { "google" };
    let (blocks, left_out) = sort(&mut said, |said, block| {
        let all: Vec<Carried> = metadata::namespace(said.metadata(block), &[provider, own, other])
            .filter(|meta| matches!(meta.kind, MetaKind::ThoughtSignature | MetaKind::ServerTool))
            .map(Carried::from)
            .collect();
        let served = all.iter().filter(|c| c.kind == MetaKind::ServerTool).count() == 2;
        let silent = block.is_silent() && block.kind != BlockKind::StandIn;
        block.carries = all;
        !silent && (block.kind != BlockKind::ProviderToolResult || served)
    });
    let leaves_out = ask.since(Version(1, 17, 11)) && (own == "google" || !ask.since(Version(1, 18, 20)));
    if !blocks.is_empty() || !leaves_out {
        out.give(&said, blocks, left_out);
    }
}
