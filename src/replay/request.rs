//! History to request: the turns that a model would be sent (docs/opencode.md §5).

use schemars::JsonSchema;
use serde::Serialize;

use super::Sdk;
use super::rules::RuleSet;
use crate::history::{Assistant, Message, ModelRef, Part, PartKind, Proof, ToolCall, ToolState};

/// Whose turn it is in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TurnRole {
    /// The user's.
    User,
    /// The assistant's.
    Assistant,
    /// Results of the tools that the assistant's turn before it called.
    Tool,
}

/// One turn of a request and the row that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn<'a> {
    /// Whose turn it is.
    pub role: TurnRole,
    /// The message row that it comes from.
    pub message_id: &'a str,
    /// What it holds, in order.
    pub blocks: Vec<Block<'a>>,
}

/// One piece of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it is.
    pub kind: BlockKind,
    /// The part that it comes from; `None` for what opencode adds itself.
    pub part_id: Option<&'a str>,
    /// Size of that part's JSON in bytes; 0 where there is none.
    pub bytes: u64,
    /// Which attachment of that part it is, from 0, where it is one that follows the tool's result.
    pub attachment: Option<usize>,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// Text that is more than white space.
    Text,
    /// White space alone.
    BlankText,
    /// `""`.
    EmptyText,
    /// The single space that stands for an empty text beside signed thinking.
    StandIn,
    /// Thinking.
    Thinking,
    /// Thinking without a word and without a signature.
    EmptyThinking,
    /// A call of a tool.
    ToolCall,
    /// A call that the provider ran, its result with it.
    ProviderToolCall,
    /// A tool's output.
    ToolResult,
    /// A tool's error.
    ToolError,
    /// "[Tool execution was interrupted]".
    ToolInterrupted,
    /// A file.
    File,
    /// "What did we do so far?"
    CompactionPrompt,
    /// "The following tool was executed by the user"
    SubtaskPrompt,
    /// A reminder of plan or build mode that opencode adds to the last user row.
    Reminder,
}

impl BlockKind {
    /// Whether the block says nothing at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        matches!(self, Self::EmptyText | Self::EmptyThinking)
    }
}

/// Why a row gives no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// It has no parts.
    NoParts,
    /// It holds an error.
    Error,
    /// None of its parts is sent.
    NothingSent,
    /// The SDK package drops it, for its text is empty.
    EmptyForSdk,
}

/// The turns of the request that re-entering the loop sends for the view; `user` is its newest user row.
#[must_use]
pub fn request<'a>(seen: &[&'a Message], set: &RuleSet, sdk: &Sdk, user: &Message) -> Vec<Turn<'a>> {
    request_with_skips(seen, set, sdk, user).0
}

/// The same, with the rows that give no turn.
#[must_use]
pub fn request_with_skips<'a>(
    seen: &[&'a Message],
    set: &RuleSet,
    sdk: &Sdk,
    user: &Message,
) -> (Vec<Turn<'a>>, Vec<(&'a str, Skip)>) {
    let reminder = reminds(seen, user).then(|| seen.iter().rposition(|m| m.user().is_some())).flatten();
    build(seen, set, sdk, user.user().and_then(|u| u.model.as_deref()), reminder)
}

/// Whose turn is the last one of a request, and the row that gives it.
pub type LastTurn<'a> = (TurnRole, &'a str);

/// The last turn of that request: whose it is, and the row that gives it. Looks back no further than it must.
#[must_use]
pub fn last_turn<'a>(seen: &[&'a Message], set: &RuleSet, sdk: &Sdk, user: &Message) -> Option<LastTurn<'a>> {
    let model = user.user().and_then(|u| u.model.as_deref());
    let reminder = reminds(seen, user).then(|| seen.iter().rposition(|m| m.user().is_some())).flatten();
    last_turn_from(seen, 0, set, sdk, model, reminder)
}

/// The last turn among the rows from place `from` on, for a model and with the reminder's place.
pub(super) fn last_turn_from<'a>(
    seen: &[&'a Message],
    from: usize,
    set: &RuleSet,
    sdk: &Sdk,
    model: Option<&ModelRef>,
    reminder: Option<usize>,
) -> Option<LastTurn<'a>> {
    (from..seen.len()).rev().find_map(|at| {
        // Every row gives its turns by itself.
        let mut out = Out::new(set, sdk, model);
        out.last_only = true;
        out.row(seen[at], reminder == Some(at));
        out.turns.last().map(|turn| (turn.role, turn.message_id))
    })
}

/// The turns that every next prompt sends before its own: what a repair must not change. `model` is the one
/// that the prompt goes to.
#[must_use]
pub fn prompt<'a>(seen: &[&'a Message], set: &RuleSet, sdk: &Sdk, model: Option<&ModelRef>) -> Vec<Turn<'a>> {
    build(seen, set, sdk, model, None).0
}

/// Whether opencode adds a mode reminder to the last user row: the plan agent is at work, or the build agent
/// after a turn of the plan agent (seen in 1.3.0 to 1.18.33).
fn reminds(seen: &[&Message], user: &Message) -> bool {
    reminds_after(seen.iter().any(|m| m.assistant().is_some_and(|a| a.agent.as_deref() == Some("plan"))), user)
}

/// The same where it is known whether the plan agent had a turn.
pub(super) fn reminds_after(plan: bool, user: &Message) -> bool {
    match user.user().and_then(|u| u.agent.as_deref()) {
        Some("plan") => true,
        Some("build") => plan,
        _ => false,
    }
}

fn build<'a>(
    seen: &[&'a Message],
    set: &RuleSet,
    sdk: &Sdk,
    model: Option<&ModelRef>,
    reminder: Option<usize>,
) -> (Vec<Turn<'a>>, Vec<(&'a str, Skip)>) {
    let mut out = Out::new(set, sdk, model);
    for (at, message) in seen.iter().enumerate() {
        out.row(message, reminder == Some(at));
    }
    (out.turns, out.skips)
}

struct Out<'a, 'c> {
    turns: Vec<Turn<'a>>,
    skips: Vec<(&'a str, Skip)>,
    set: &'c RuleSet,
    sdk: &'c Sdk,
    model: Option<&'c ModelRef>,
    /// Only the last turn is asked for: a row may give hundreds of thousands.
    last_only: bool,
    /// How many turns there were.
    given: usize,
}

fn block(kind: BlockKind, part: &Part) -> Block<'_> {
    Block { kind, part_id: Some(&part.id), bytes: part.bytes, attachment: None }
}

fn text_kind(text: crate::history::Text) -> BlockKind {
    if text.empty {
        BlockKind::EmptyText
    } else if text.blank {
        BlockKind::BlankText
    } else {
        BlockKind::Text
    }
}

impl<'a, 'c> Out<'a, 'c> {
    fn new(set: &'c RuleSet, sdk: &'c Sdk, model: Option<&'c ModelRef>) -> Self {
        Self { turns: Vec::new(), skips: Vec::new(), set, sdk, model, last_only: false, given: 0 }
    }

    fn row(&mut self, message: &'a Message, reminded: bool) {
        if message.parts.is_empty() && !reminded {
            self.skips.push((message.id(), Skip::NoParts));
            return;
        }
        match message.assistant() {
            None => self.user(message, reminded),
            Some(a) => self.assistant(message, a),
        }
    }

    fn give(&mut self, turn: Turn<'a>) {
        if self.last_only {
            self.turns.clear();
        }
        self.turns.push(turn);
        self.given += 1;
    }

    fn user(&mut self, message: &'a Message, reminded: bool) {
        let mut blocks = Vec::new();
        for part in &message.parts {
            match &part.kind {
                PartKind::Text { text, ignored: false, .. } if !(text.empty && self.set.modern_replay) => {
                    blocks.push(block(text_kind(*text), part));
                }
                PartKind::File(media) if media.mime != "text/plain" && media.mime != "application/x-directory" => {
                    blocks.push(block(BlockKind::File, part));
                }
                PartKind::Compaction { .. } => blocks.push(block(BlockKind::CompactionPrompt, part)),
                PartKind::Subtask => blocks.push(block(BlockKind::SubtaskPrompt, part)),
                _ => {}
            }
        }
        if reminded {
            blocks.push(Block { kind: BlockKind::Reminder, part_id: None, bytes: 0, attachment: None });
        }
        if blocks.is_empty() {
            self.skips.push((message.id(), Skip::NothingSent));
        } else if !self.push(TurnRole::User, message.id(), blocks) {
            self.skips.push((message.id(), Skip::EmptyForSdk));
        }
    }

    fn assistant(&mut self, message: &'a Message, a: &Assistant) {
        let says_something = |p: &Part| !matches!(p.kind, PartKind::StepStart | PartKind::Reasoning { .. });
        if a.error.as_ref().is_some_and(|e| !(e.aborted() && message.parts.iter().any(says_something))) {
            self.skips.push((message.id(), Skip::Error));
            return;
        }
        let foreign = self.model.is_some_and(|m| *m != *a.model);
        let signed = self.set.modern_replay
            && message.parts.iter().any(|p| {
                matches!(&p.kind, PartKind::Reasoning { proofs, .. } if proofs.iter().any(|x| x.namespace == "anthropic" && x.signature))
            });
        let before = self.given;
        let mut sent_any = false;
        let mut media = Vec::new();
        let mut step = Step::default();
        for part in &message.parts {
            match &part.kind {
                PartKind::StepStart => sent_any |= self.close(message.id(), &mut step),
                PartKind::Text { text, .. } => {
                    let kind = if text.empty && signed { BlockKind::StandIn } else { text_kind(*text) };
                    step.said.push((block(kind, part), true));
                }
                PartKind::Reasoning { text, proofs, metadata } => {
                    if foreign && self.set.modern_replay {
                        if !text.blank {
                            step.said.push((block(BlockKind::Text, part), true));
                        }
                        continue;
                    }
                    let proofs: &[Proof] = if foreign { &[] } else { proofs };
                    let nothing = text.empty && (foreign || !metadata);
                    let kind = if nothing { BlockKind::EmptyThinking } else { BlockKind::Thinking };
                    step.said.push((block(kind, part), self.keeps_thinking(*text, proofs)));
                }
                PartKind::Tool(call) => {
                    self.tool(part, call, &mut step);
                    if let ToolState::Completed { compacted: false, attachments, .. } = &call.state {
                        let apart =
                            attachments.iter().zip(0..).filter(|(m, _)| m.is_media() && !self.takes_media(&m.mime));
                        media.extend(
                            apart.map(|(_, at)| Block { attachment: Some(at), ..block(BlockKind::File, part) }),
                        );
                    }
                }
                _ => {}
            }
        }
        sent_any |= self.close(message.id(), &mut step);
        if !media.is_empty() {
            sent_any |= self.push(TurnRole::User, message.id(), media);
        }
        if self.given == before {
            self.skips.push((message.id(), if sent_any { Skip::EmptyForSdk } else { Skip::NothingSent }));
        }
    }

    fn tool(&self, part: &'a Part, call: &ToolCall, step: &mut Step<'a>) {
        if call.provider_executed && self.set.modern_replay {
            step.said.push((block(BlockKind::ProviderToolCall, part), true));
            return;
        }
        step.said.push((block(BlockKind::ToolCall, part), true));
        let result = match call.state {
            ToolState::Completed { .. } => BlockKind::ToolResult,
            ToolState::Error { has_output: true, .. } if self.set.modern_replay => BlockKind::ToolResult,
            ToolState::Error { never_ended: true, .. } => BlockKind::ToolInterrupted,
            ToolState::Error { .. } => BlockKind::ToolError,
            ToolState::Running | ToolState::Pending => BlockKind::ToolInterrupted,
        };
        step.results.push(block(result, part));
    }

    /// Ends a block of the row: what was said becomes an assistant's turn, results a tool's turn after it.
    /// Returns whether the SDK was given anything.
    fn close(&mut self, message_id: &'a str, step: &mut Step<'a>) -> bool {
        let Step { said, results } = std::mem::take(step);
        if said.is_empty() {
            return false;
        }
        let drops = self.drops_empty();
        let thinking = said.iter().any(|(b, keep)| *keep && b.kind == BlockKind::Thinking);
        let bedrock = self.is_bedrock();
        let mut blocks = said
            .into_iter()
            .filter(|(b, keep)| {
                *keep
                    && !(drops && b.kind.is_empty())
                    // Bedrock's own conversion passes over white space unless signed thinking stands beside it.
                    && !(bedrock && !thinking && matches!(b.kind, BlockKind::BlankText | BlockKind::StandIn))
            })
            .map(|(b, _)| b)
            .collect::<Vec<_>>();
        // Collected in place, it would keep the room of what was said, and there may be a great many.
        blocks.shrink_to_fit();
        // A package that keeps empty text keeps the turn as well, whatever is in it.
        if !blocks.is_empty() || !drops {
            self.give(Turn { role: TurnRole::Assistant, message_id, blocks });
        }
        if !results.is_empty() {
            self.give(Turn { role: TurnRole::Tool, message_id, blocks: results });
        }
        true
    }

    fn push(&mut self, role: TurnRole, message_id: &'a str, mut blocks: Vec<Block<'a>>) -> bool {
        if self.drops_empty() {
            blocks.retain(|b| !b.kind.is_empty());
            if blocks.is_empty() {
                return false;
            }
        }
        self.give(Turn { role, message_id, blocks });
        true
    }

    fn is_bedrock(&self) -> bool {
        self.sdk.package == "@ai-sdk/amazon-bedrock"
    }

    /// Packages for which opencode drops empty text before the request (docs/opencode.md §5.7).
    fn drops_empty(&self) -> bool {
        self.sdk.package == "@ai-sdk/anthropic" || self.is_bedrock()
    }

    fn keeps_thinking(&self, text: crate::history::Text, proofs: &[Proof]) -> bool {
        if !self.drops_empty() {
            return true;
        }
        if !self.set.modern_replay {
            return !text.empty;
        }
        let namespace = if self.is_bedrock() { "bedrock" } else { "anthropic" };
        let signed = proofs.iter().any(|p| {
            (p.namespace == namespace || (self.is_bedrock() && self.model.is_some_and(|m| m.provider == p.namespace)))
                && (p.signature || p.redacted_data || (self.is_bedrock() && p.redacted_content))
        });
        signed || !(text.blank || (self.is_bedrock() && self.set.strict_bedrock))
    }

    /// Whether the provider takes such a file inside a tool's result; if not, it follows as a user's turn.
    fn takes_media(&self, mime: &str) -> bool {
        let model = self.model.map(|m| m.model.to_lowercase()).unwrap_or_default();
        match self.sdk.package.as_str() {
            "@ai-sdk/anthropic"
            | "@ai-sdk/openai"
            | "@ai-sdk/google-vertex/anthropic"
            | "@ai-sdk/amazon-bedrock/mantle" => true,
            "@ai-sdk/amazon-bedrock" => !self.set.modern_replay || mime.starts_with("image/"),
            "@ai-sdk/xai" => self.set.strict_bedrock && mime.starts_with("image/"),
            "@ai-sdk/google" => model.contains("gemini-3") && !model.contains("gemini-2"),
            _ => false,
        }
    }
}

#[derive(Default)]
struct Step<'a> {
    /// Blocks of the assistant's turn, each with whether its package sends it.
    said: Vec<(Block<'a>, bool)>,
    results: Vec<Block<'a>>,
}
