//! Packages that speak OpenAI's Responses: `@ai-sdk/openai`, `@ai-sdk/azure`, and for some models `@ai-sdk/github-copilot`
//! and `@ai-sdk/xai`. There an answer is a list of items, and each item is a turn of its own here.
//!
//! Thinking is an item where it is encrypted (`reasoningEncryptedContent`); other thinking is not sent, nor is a call that
//! the provider ran. An empty text is an item where it carries metadata of any kind. With `store: true` an item is sent by
//! its name alone (`itemId`); without, opencode takes the names out. As Copilot's copy sends only thinking that has a
//! name, it sends none since 1.17.11. `@ai-sdk/xai` sends thinking since 1.18.14, where it has a name or encrypted content.
//!
//! Source: `convertToOpenAIResponsesInput` of `@ai-sdk/openai` 3.0.53 and 3.0.84, `convertToXaiResponsesInput` of
//! `@ai-sdk/xai` 3.0.82 and 3.0.102, opencode's own copy for Copilot; measured on 1.14.48 and 1.18.34.

use super::chat;
use crate::history::{Digest, MetaKind};
use crate::replay::package::{Ask, Inside, MEASURED, Out, Package, Said, all_inside, images, no_media};
use crate::replay::rules::Version;
use crate::replay::turn::{Block, BlockKind, Carried, Turn};

pub(super) const OPENAI: Package = Package {
    name: "@ai-sdk/openai",
    namespace: "openai",
    takes_interleaved: false,
    details_once: false,
    takes_media: |_, _| true,
    assistant: openai,
    takes_file: |_, mime| images(mime) || mime == "application/pdf",
    inside: all_inside,
    chats: false,
    measured: MEASURED,
};

pub(super) const AZURE: Package =
    Package { name: "@ai-sdk/azure", namespace: "azure", takes_media: no_media, assistant: azure, ..OPENAI };

pub(super) const COPILOT: Package = Package {
    name: "@ai-sdk/github-copilot",
    namespace: "copilot",
    takes_media: no_media,
    assistant: copilot,
    chats: true,
    takes_file: |ask, mime| images(mime) || copilot_responds(ask) && mime == "application/pdf",
    ..OPENAI
};

pub(super) const XAI: Package = Package {
    name: "@ai-sdk/xai",
    namespace: "xai",
    takes_media: |ask, mime| ask.since(Version(1, 15, 13)) && images(mime),
    assistant: xai,
    takes_file: |ask, mime| images(mime) || ask.provider() == "xai" && ask.since(PDF) && mime == "application/pdf",
    // Asked for chat completions, it writes the whole result as JSON; in Responses, its texts alone.
    inside: |ask, _| Inside::sent(ask.provider() != "xai"),
    chats: true,
    ..OPENAI
};

/// Since when opencode's change of xAI's package sends documents.
const PDF: Version = Version(1, 15, 13);

/// Gives an item of which these blocks are sent.
fn item<'a>(said: &Said<'a>, blocks: Vec<Block<'a>>, out: &mut Out<'a>) {
    out.give(said, blocks, Vec::new());
}

/// An item that is sent by its name alone.
fn reference<'a>(block: &Block<'a>, name: Carried) -> Block<'a> {
    Block { kind: BlockKind::ItemReference, digest: Digest::default(), carries: vec![name], ..block.clone() }
}

fn azure<'a>(ask: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    // With `useCompletionUrls` opencode asks it for chat completions.
    if ask.sdk.completions { chat::openai(ask, said, out) } else { openai(ask, said, out) }
}

fn openai<'a>(ask: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    let store = ask.sdk.store == Some(true);
    // opencode takes the names out before the package sees them; up to 1.15.13 only of what goes out.
    let named = store || !ask.since(Version(1, 17, 0));
    let mut items = Items { named: Vec::new(), all: Out::default(), left_out: std::mem::take(&mut said.left_out) };
    for mut block in std::mem::take(&mut said.blocks) {
        let name = ask.meta(&said, &block, MetaKind::ItemId).map(Carried::from).filter(|_| named);
        let by_name = name.filter(|_| store);
        match (block.kind, by_name) {
            // Copilot's copy sends only thinking that has a name.
            (BlockKind::Thinking, _) if name.is_none() && ask.package.name == COPILOT.name => {
                items.left_out.push(block);
            }
            (BlockKind::Thinking, _) => {
                block.carries.extend(ask.meta(&said, &block, MetaKind::EncryptedContent).map(Carried::from));
                items.think(&said, block, name, store);
            }
            (BlockKind::ProviderToolResult, None) if store => {
                let digest = block.call().map(|call| Digest::of(&[call.call_id.as_bytes()])).unwrap_or_default();
                item(&said, vec![Block { kind: BlockKind::ItemReference, digest, ..block }], &mut items.all);
            }
            (BlockKind::ProviderToolCall | BlockKind::ProviderToolResult, None) => items.left_out.push(block),
            (BlockKind::ToolCall, Some(_)) if ask.since(Version(1, 17, 0)) => item(&said, vec![block], &mut items.all),
            (_, Some(name)) => item(&said, vec![reference(&block, name)], &mut items.all),
            (kind, None) => {
                if kind != BlockKind::ToolCall {
                    block.carries.extend(ask.meta(&said, &block, MetaKind::Phase).map(Carried::from));
                }
                item(&said, vec![block], &mut items.all);
            }
        }
    }
    items.end(out);
}

/// The items of an answer. Thinking of one name is one item.
struct Items<'a> {
    /// Names, and the places of their items.
    named: Vec<(Carried, usize)>,
    all: Out<'a>,
    left_out: Vec<Block<'a>>,
}

impl<'a> Items<'a> {
    fn think(&mut self, said: &Said<'a>, block: Block<'a>, name: Option<Carried>, store: bool) {
        let known = name.and_then(|name| self.named.iter().find(|(known, _)| *known == name)).map(|(_, at)| *at);
        let place = self.all.turns.len();
        match (name, known) {
            (Some(name), None) => {
                self.named.push((name, place));
                item(said, vec![if store { reference(&block, name) } else { block }], &mut self.all);
            }
            (None, _) if !block.carries.is_empty() => item(said, vec![block], &mut self.all),
            (Some(_), Some(at)) if !store => {
                // The last encrypted content of an item is the one that is sent.
                let turn = self.all.turns.get_mut(at);
                if let Some(turn) = turn.filter(|_| !block.is_silent() || !block.carries.is_empty()) {
                    if !block.carries.is_empty() {
                        turn.blocks.iter_mut().for_each(|b| b.carries.clear());
                    }
                    turn.blocks.push(block);
                }
            }
            _ => self.left_out.push(block),
        }
    }

    /// Thinking without encrypted content is left out in the end.
    fn end(mut self, out: &mut Out<'a>) {
        for turn in self.all.turns {
            let open = turn
                .blocks
                .iter()
                .all(|b| matches!(b.kind, BlockKind::Thinking | BlockKind::EmptyThinking) && b.carries.is_empty());
            if open {
                self.left_out.extend(turn.blocks);
            } else {
                let left_out = std::mem::take(&mut self.left_out);
                out.turn(Turn { left_out, ..turn });
            }
        }
    }
}

/// The models that opencode asks Copilot's Responses for: GPT from 5 on, where Copilot is logged in to.
fn copilot_responds(ask: &Ask<'_>) -> bool {
    let id = ask.api_id();
    let version: String = id.strip_prefix("gpt-").unwrap_or("").chars().take_while(char::is_ascii_digit).collect();
    ask.provider() == "github-copilot" && version.parse().is_ok_and(|n: u32| n >= 5) && !id.starts_with("gpt-5-mini")
}

fn copilot<'a>(ask: &Ask<'_>, said: Said<'a>, out: &mut Out<'a>) {
    if copilot_responds(ask) { openai(ask, said, out) } else { chat::copilot(ask, said, out) }
}

fn xai<'a>(ask: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    if ask.provider() != "xai" {
        chat::xai(ask, said, out);
        return;
    }
    for mut block in std::mem::take(&mut said.blocks) {
        let name = ask.meta(&said, &block, MetaKind::ItemId).map(Carried::from);
        let encrypted = ask.meta(&said, &block, MetaKind::EncryptedContent).map(Carried::from);
        match block.kind {
            BlockKind::Thinking if ask.since(Version(1, 18, 14)) && (name.is_some() || encrypted.is_some()) => {
                block.carries.extend(name.into_iter().chain(encrypted));
                item(&said, vec![block], out);
            }
            BlockKind::Thinking | BlockKind::ProviderToolCall | BlockKind::ProviderToolResult => {
                said.left_out.push(block);
            }
            _ => {
                block.carries.extend(name);
                item(&said, vec![block], out);
            }
        }
    }
}
