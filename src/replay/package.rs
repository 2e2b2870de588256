//! What an AI SDK package is told of a history, what it is, and what it writes: the types between `said.rs`, `transform.rs` and
//! `packages/`.

use super::Sdk;
use super::rules::{RuleSet, Version};
use super::turn::{Block, BlockKind, Carried, Stop, StopKind, Turn, TurnRole};
use crate::history::{Digest, Message, Meta, MetaKind, Metadata, ModelRef, PartKind, metadata};

/// What a package does.
#[derive(Debug)]
pub(super) struct Package {
    /// Its npm name.
    pub(super) name: &'static str,
    /// The namespace of its metadata, beside the provider's id: `ProviderTransform` renames one to the other.
    pub(super) namespace: &'static str,
    /// Whether a field of the message takes the thinking of models for which it is configured (`interleaved`).
    pub(super) takes_interleaved: bool,
    /// Whether a reasoning detail that was sent before is left out.
    pub(super) details_once: bool,
    /// Whether a tool's result takes a file of this type, in the eyes of opencode; else it follows as the user's.
    pub(super) takes_media: fn(&Ask<'_>, &str) -> bool,
    /// Writes a message of the assistant's; the two others are alike in every package.
    pub(super) assistant: for<'a> fn(&Ask<'_>, Said<'a>, &mut Out<'a>),
    /// Whether it can send such a file of a prompt.
    pub(super) takes_file: fn(&Ask<'_>, &str) -> bool,
    /// What it does with such a file inside of a tool's result.
    pub(super) inside: fn(&Ask<'_>, &str) -> Inside,
    /// Whether it may speak chat completions, where an answer is a message of its own, be it empty.
    pub(super) chats: bool,
    /// First and last version of opencode that it was measured with, the last of which is behind nobody's knowledge;
    /// `None` where it was only read.
    pub(super) measured: Option<(Version, Version)>,
}

/// What becomes of a file inside of a tool's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    /// It is sent.
    Sent,
    /// It is left out.
    LeftOut,
    /// The package gives up.
    Stops,
}

impl Inside {
    pub(super) fn sent(it_is: bool) -> Self {
        if it_is { Self::Sent } else { Self::LeftOut }
    }
}

/// Every file is sent.
pub(super) fn all_inside(_: &Ask<'_>, _: &str) -> Inside {
    Inside::Sent
}

/// The versions with which all packages but a few were measured.
pub(super) const MEASURED: Option<(Version, Version)> = Some((Version(1, 14, 48), Version(1, 18, 34)));

/// For whom a history is written: what a request depends on besides its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'c> {
    pub(super) set: &'c RuleSet,
    pub(super) sdk: &'c Sdk,
    pub(super) model: Option<&'c ModelRef>,
    pub(super) package: &'static Package,
}

impl<'c> Ask<'c> {
    pub(super) fn package(&self) -> &str {
        &self.sdk.package
    }

    /// The provider's id; empty where nobody knows.
    pub(super) fn provider(&self) -> &str {
        self.model.map_or("", |model| &model.provider)
    }

    /// The model's id at the service.
    pub(super) fn api_id(&self) -> String {
        let own = || self.model.map(|model| model.model.as_str());
        self.sdk.api_id.as_deref().or_else(own).unwrap_or_default().to_lowercase()
    }

    /// 1.14 and later (docs/opencode.md §5).
    pub(super) fn modern(&self) -> bool {
        self.set.modern_replay
    }

    /// Whether the rule set stands for that version or a later one.
    pub(super) fn since(&self, version: Version) -> bool {
        self.set.measured.1 >= version
    }

    pub(super) fn takes_media(&self, mime: &str) -> bool {
        (self.package.takes_media)(self, mime)
    }

    /// Models for which opencode writes call ids as Mistral takes them, and puts "Done." behind results.
    pub(super) fn is_mistral(&self) -> bool {
        let id = self.api_id();
        let early: &[&str] = &["mistral", "devstral"];
        let late: &[&str] = &["mistral", "devstral", "codestral", "pixtral", "mixtral"];
        let names = if self.since(Version(1, 18, 14)) { late } else { early };
        self.modern() && (self.provider() == "mistral" || names.iter().any(|name| id.contains(name)))
    }

    /// The field that takes the model's thinking.
    pub(super) fn interleaved(&self) -> Option<&str> {
        self.sdk.interleaved.as_deref().filter(|_| self.modern() && self.package.name != "@openrouter/ai-sdk-provider")
    }

    /// Where the package looks for its metadata: under the provider's id, which is renamed to its own namespace.
    pub(super) fn namespaces(&self) -> [&str; 2] {
        [self.provider(), self.package.namespace]
    }

    /// A piece of the metadata that is handed over with a block.
    pub(super) fn meta<'a>(&self, said: &Said<'a>, block: &Block<'a>, kind: MetaKind) -> Option<&'a Meta> {
        metadata::find(said.metadata(block), &self.namespaces(), kind)
    }

    /// What of the metadata in the package's namespace nobody knows: it counts as sent with what is sent.
    pub(super) fn unknown<'a>(&self, said: &Said<'a>, block: &Block<'a>) -> Vec<Carried> {
        let all = metadata::namespace(said.metadata(block), &self.namespaces());
        all.filter(|meta| meta.kind == MetaKind::Unknown).map(Carried::from).collect()
    }
}

/// What a package has written of a row.
#[derive(Debug, Default)]
pub(super) struct Out<'a> {
    pub(super) turns: Vec<Turn<'a>>,
    pub(super) stops: Vec<Stop<'a>>,
    /// Only the last turn is asked for: a row may give hundreds of thousands.
    pub(super) last_only: bool,
    /// The row has given a turn.
    pub(super) given: bool,
}

impl<'a> Out<'a> {
    pub(super) fn give(&mut self, said: &Said<'a>, mut blocks: Vec<Block<'a>>, left_out: Vec<Block<'a>>) {
        blocks.iter_mut().for_each(name_empty_thinking);
        let (role, row) = (said.role, said.row);
        self.turn(Turn { role, row, blocks, left_out, message: 0 });
    }

    /// Gives an answer whose text is one string, be that empty: an empty text is sent where nothing else is.
    pub(super) fn give_whole(&mut self, said: &Said<'a>, mut blocks: Vec<Block<'a>>, left_out: Vec<Block<'a>>) {
        let (empty, rest): (Vec<_>, Vec<_>) =
            left_out.into_iter().partition(|b| blocks.is_empty() && b.kind == BlockKind::EmptyText);
        blocks.extend(empty);
        self.give(said, blocks, rest);
    }

    pub(super) fn turn(&mut self, turn: Turn<'a>) {
        if self.last_only {
            self.turns.clear();
        }
        self.given = true;
        self.turns.push(turn);
    }

    pub(super) fn stop(&mut self, said: &Said<'a>, block: &Block<'a>, what: StopKind) {
        if let Some(part) = block.part.filter(|_| !self.last_only) {
            self.stops.push(Stop { row: said.row, part, what });
        }
    }
}

/// A message on its way to the package.
#[derive(Debug, Clone)]
pub(super) struct Said<'a> {
    pub(super) role: TurnRole,
    pub(super) row: &'a Message,
    pub(super) blocks: Vec<Block<'a>>,
    /// Blocks that were left out on the way.
    pub(super) left_out: Vec<Block<'a>>,
    /// The row is another model's: nothing of its metadata is handed over.
    pub(super) foreign: bool,
}

const NONE: &Metadata = &None;

impl<'a> Said<'a> {
    pub(super) fn new(role: TurnRole, row: &'a Message, foreign: bool) -> Self {
        Self { role, row, blocks: Vec::new(), left_out: Vec::new(), foreign }
    }

    /// The metadata that is handed over with the block.
    pub(super) fn metadata(&self, block: &Block<'a>) -> &'a Metadata {
        match block.part.map(|part| &part.kind) {
            _ if self.foreign => NONE,
            Some(PartKind::Text { metadata, .. } | PartKind::Reasoning { metadata, .. }) => metadata,
            Some(PartKind::Tool(call)) => &call.metadata,
            _ => NONE,
        }
    }
}

/// Sorts the blocks of an answer into those that are sent and those that are not.
pub(super) fn sort<'a>(
    said: &mut Said<'a>,
    mut sends: impl FnMut(&Said<'a>, &mut Block<'a>) -> bool,
) -> (Vec<Block<'a>>, Vec<Block<'a>>) {
    let mut left_out = std::mem::take(&mut said.left_out);
    let mut sent = Vec::new();
    for mut block in std::mem::take(&mut said.blocks) {
        if sends(said, &mut block) { sent.push(block) } else { left_out.push(block) }
    }
    // Collected in place, it would keep the room of what was said, and there may be a great many.
    sent.shrink_to_fit();
    (sent, left_out)
}

/// Notes that nothing vouches for thinking of which not a word is told.
pub(super) fn name_empty_thinking(block: &mut Block<'_>) {
    if block.kind == BlockKind::Thinking && block.is_nothing() {
        block.kind = BlockKind::EmptyThinking;
    }
}

/// Of thinking that only the provider can read, no word is sent.
pub(super) fn hide_redacted(block: &mut Block<'_>) {
    let redacted = |c: &Carried| matches!(c.kind, MetaKind::RedactedData | MetaKind::RedactedContent);
    if block.carries.iter().any(redacted) {
        block.digest = Digest::default();
    }
}

pub(super) fn images(mime: &str) -> bool {
    mime.starts_with("image/")
}

pub(super) fn no_media(_: &Ask<'_>, _: &str) -> bool {
    false
}
