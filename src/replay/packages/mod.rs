//! The AI SDK packages: what each sends of the messages that reach it. One file for each protocol, in which each package
//! is a [`Package`] with its source and the versions of opencode that showed it.

mod anthropic;
mod bedrock;
mod chat;
mod google;
mod openrouter;
mod other;
mod responses;

use super::Sdk;
use super::rules::{RuleSet, Version};
use super::said::{Said, said};
use super::transform::transform;
use super::turn::{Block, BlockKind, Carried, Stop, StopKind, Turn, TurnRole, Why};
use crate::history::{Digest, Message, Meta, MetaKind, ModelRef, Output, ToolCall, ToolState, metadata};

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
    fn sent(it_is: bool) -> Self {
        if it_is { Self::Sent } else { Self::LeftOut }
    }
}

/// Every file is sent.
fn all_inside(_: &Ask<'_>, _: &str) -> Inside {
    Inside::Sent
}

/// The versions with which all packages but a few were measured.
const MEASURED: Option<(Version, Version)> = Some((Version(1, 14, 48), Version(1, 18, 34)));

/// All packages that are known.
const PACKAGES: [&Package; 13] = [
    &anthropic::ANTHROPIC,
    &anthropic::VERTEX_ANTHROPIC,
    &bedrock::BEDROCK,
    &responses::OPENAI,
    &responses::AZURE,
    &responses::COPILOT,
    &responses::XAI,
    &chat::COMPATIBLE,
    &chat::MISTRAL,
    &chat::GROQ,
    &openrouter::OPENROUTER,
    &google::GOOGLE,
    &google::VERTEX,
];

/// The package of that name; one that keeps everything where nothing is known of it.
pub(super) fn package(name: &str) -> &'static Package {
    PACKAGES.iter().find(|package| package.name == name).copied().unwrap_or(&other::OTHER)
}

/// The names of all packages that were measured.
pub(super) fn measured() -> impl Iterator<Item = &'static str> {
    PACKAGES.iter().filter(|package| package.measured.is_some()).map(|package| package.name)
}

/// For whom a history is written: what a request depends on besides its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'c> {
    pub(super) set: &'c RuleSet,
    pub(super) sdk: &'c Sdk,
    pub(super) model: Option<&'c ModelRef>,
    pub(super) package: &'static Package,
}

impl<'c> Ask<'c> {
    pub(super) fn new(set: &'c RuleSet, sdk: &'c Sdk, model: Option<&'c ModelRef>) -> Self {
        Self { set, sdk, model, package: package(&sdk.package) }
    }

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

/// What a row gives to the request; why it gives nothing otherwise.
pub(super) fn row<'a>(ask: &Ask<'_>, message: &'a Message, reminded: bool, out: &mut Out<'a>) -> Option<Why> {
    let all = match said(ask, message, reminded) {
        Ok(all) => all,
        Err(why) => return Some(why),
    };
    out.given = false;
    for said in all.into_iter().flat_map(|said| transform(ask, said)) {
        write(ask, said, out);
    }
    (!out.given).then_some(Why::EmptyForSdk)
}

fn write<'a>(ask: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    let no_output = |b: &&Block<'a>| {
        let missing = |call: &ToolCall| {
            matches!(call.state, ToolState::Completed { compacted: false, output: Output::Missing, .. })
        };
        matches!(b.kind, BlockKind::ToolResult | BlockKind::ProviderToolResult) && b.call().is_some_and(missing)
    };
    said.blocks.iter().filter(no_output).for_each(|block| out.stop(&said, block, StopKind::NoOutput));
    if said.role == TurnRole::Assistant {
        // Up to 1.3 the SDK's own check refuses a history in which the provider ran a call.
        if !ask.modern() {
            let served =
                |b: &&Block<'a>| b.kind == BlockKind::ToolCall && b.call().is_some_and(|call| call.provider_executed);
            said.blocks.iter().filter(served).for_each(|call| out.stop(&said, call, StopKind::ProviderCall));
        }
        (ask.package.assistant)(ask, said, out);
        return;
    }
    let mut left_out = std::mem::take(&mut said.left_out);
    let mut blocks = std::mem::take(&mut said.blocks);
    if said.role == TurnRole::User {
        let stops = |b: &&Block<'a>| b.media().is_some_and(|media| !(ask.package.takes_file)(ask, &media.mime));
        blocks.iter().filter(stops).for_each(|block| out.stop(&said, block, StopKind::File));
    } else {
        let becomes = |b: &Block<'a>| b.media().map_or(Inside::Sent, |media| (ask.package.inside)(ask, &media.mime));
        let stops = blocks.iter().filter(|b| becomes(b) == Inside::Stops);
        stops.for_each(|block| out.stop(&said, block, StopKind::File));
        left_out.extend(blocks.iter().filter(|b| becomes(b) == Inside::LeftOut).cloned());
        blocks.retain(|b| becomes(b) != Inside::LeftOut);
    }
    out.give(&said, blocks, left_out);
}

/// Sorts the blocks of an answer into those that are sent and those that are not.
fn sort<'a>(
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
fn name_empty_thinking(block: &mut Block<'_>) {
    if block.kind == BlockKind::Thinking && block.is_nothing() {
        block.kind = BlockKind::EmptyThinking;
    }
}

/// Of thinking that only the provider can read, no word is sent.
fn hide_redacted(block: &mut Block<'_>) {
    let redacted = |c: &Carried| matches!(c.kind, MetaKind::RedactedData | MetaKind::RedactedContent);
    if block.carries.iter().any(redacted) {
        block.digest = Digest::default();
    }
}

fn images(mime: &str) -> bool {
    mime.starts_with("image/")
}

fn no_media(_: &Ask<'_>, _: &str) -> bool {
    false
}
