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
use super::package::{Ask, Inside, Out, Package, Said};
use super::rules::RuleSet;
use super::said::said;
use super::transform::transform;
use super::turn::{Block, BlockKind, StopKind, TurnRole, Why};
use crate::history::{Message, ModelRef, Output, ToolCall, ToolState};

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

/// For whom a history is written.
pub(super) fn ask<'c>(set: &'c RuleSet, sdk: &'c Sdk, model: Option<&'c ModelRef>) -> Ask<'c> {
    Ask { set, sdk, model, package: package(&sdk.package) }
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
