//! One session as the model would be sent it: which rows give which turns, which are left out and why, and
//! why each generation of the run loop stops there or goes on.

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnosis::{Code, Finding};
use crate::history::{Message, Session};
use crate::json::{Object, string};
use crate::replay::{
    Block, BlockKind, Carried, RULE_SETS, Request, Resume, RuleSet, Sdk, TurnRole, Why, after_revert, newest, request,
    resume, resume_in, view,
};

/// A session's request, row by row.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The rule set under which the request is shown: the newest counting one under which the session is
    /// stuck, or the newest one.
    pub set: &'static RuleSet,
    /// What re-entering the loop does under it.
    pub resume: Resume,
    /// The rows in the order in which they are replayed; rows that are cut off stand where they were.
    pub rows: Vec<Row>,
    /// What every generation of the loop does, oldest first.
    pub generations: Vec<Generation>,
}

/// A message row and what becomes of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The row's id.
    pub message_id: String,
    /// A user's row; else an assistant's.
    pub user: bool,
    /// `time_created`, ms since the Unix epoch.
    pub time_ms: i64,
    /// The row's finish.
    pub finish: Option<String>,
    /// The row's error.
    pub error: Option<Failure>,
    /// It is a compaction's summary.
    pub summary: bool,
    /// It holds nothing at all.
    pub empty: bool,
    /// The turns that it gives.
    pub turns: Vec<Turn>,
    /// Why it gives none.
    pub skipped: Option<Why>,
}

/// An error that a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The model refused an assistant prefill.
    Prefill400,
    /// A person, or the end of the program, aborted the answer.
    Aborted,
    /// Anything else.
    Other,
}

/// A turn of the request.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Whose turn it is.
    pub role: TurnRole,
    /// What it holds, in order.
    pub blocks: Vec<Piece>,
    /// The request ends with it, and it is the assistant's.
    pub offending: bool,
}

/// A block of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Piece {
    /// What it is.
    pub kind: BlockKind,
    /// Size of the part's JSON in bytes; 0 for what opencode adds itself.
    pub bytes: u64,
    /// The part that it comes from.
    pub part_id: Option<String>,
    /// The tool, where it is one's call or result.
    pub tool: Option<String>,
    /// opencode cut the call off.
    pub orphan: bool,
    /// What of the provider's metadata is sent with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carries: Vec<Carried>,
    /// Why every request that holds it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Code>,
    /// What is sent; only where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What one generation of the loop does with the session.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Its rules.
    pub set: &'static RuleSet,
    /// It counts for this store.
    pub counts: bool,
    /// What re-entering does.
    pub resume: Resume,
    /// The newest prompt that it sees.
    pub user: Option<String>,
    /// The newest answer that it sees.
    pub assistant: Option<String>,
    /// Why it does not stop there; empty where it does.
    pub goes_on: Vec<GoesOn>,
}

/// Why a generation of the loop does not stop at the newest answer (docs/opencode.md §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "code")]
pub enum GoesOn {
    /// There is no answer.
    NoAnswer,
    /// The answer is not marked as finished, or marked with a finish that means "go on".
    Unfinished {
        /// The mark.
        finish: Option<String>,
    },
    /// The answer holds tool calls that keep this generation going whatever the mark says.
    HoldsTools {
        /// Their parts.
        part_ids: Vec<String>,
        /// All of them were cut off.
        orphans: bool,
    },
    /// The answer does not belong to the newest prompt.
    AnswersAnother,
}

impl Explanation {
    /// Replays the session; `counting` are the rule sets that count for its store, oldest first.
    #[must_use]
    pub fn of(session: &Session, sdk: &Sdk, counting: &[&'static RuleSet]) -> Self {
        let outcome = |set: &'static RuleSet| resume(session, set, sdk);
        let stuck = counting.iter().rev().copied().find(|set| outcome(set) == Resume::EndsWithAssistant);
        let set = stuck.or_else(|| counting.last().copied()).unwrap_or(&RULE_SETS[RULE_SETS.len() - 1]);
        let counts = |set: &RuleSet| counting.iter().any(|c| c.key == set.key);
        Self {
            set,
            resume: outcome(set),
            rows: rows(session, &after_revert(session, set), set, sdk),
            generations: RULE_SETS
                .iter()
                .map(|set| generation(&view(&after_revert(session, set).messages, set), set, sdk, counts(set)))
                .collect(),
        }
    }

    /// The turn that the request ends with, where that is the assistant's, and its number from 1.
    #[must_use]
    pub fn offending(&self) -> Option<(usize, &Row, &Turn)> {
        let turns = self.rows.iter().flat_map(|row| row.turns.iter().map(move |turn| (row, turn)));
        turns.enumerate().find(|(_, (_, turn))| turn.offending).map(|(at, (row, turn))| (at + 1, row, turn))
    }

    /// The parts that are sent, in order; one may be there twice.
    pub fn part_ids(&self) -> impl Iterator<Item = &str> {
        let pieces = self.rows.iter().flat_map(|r| &r.turns).flat_map(|t| &t.blocks);
        pieces.filter_map(|p| p.part_id.as_deref())
    }

    /// Marks the blocks of the parts that every request is refused for.
    pub fn mark(&mut self, findings: &[Finding]) {
        let refused = |f: &&Finding| f.redacted_by().is_some();
        for piece in self.rows.iter_mut().flat_map(|r| &mut r.turns).flat_map(|t| &mut t.blocks) {
            let found = findings.iter().filter(refused).find(|f| piece.part_id.is_some() && f.part_id == piece.part_id);
            piece.refused = found.map(|f| f.code);
        }
    }

    /// Adds what is sent to every block: `data` gives a part's JSON by its id.
    pub fn add_texts<'a>(&mut self, data: impl Fn(&str) -> Option<&'a str>) {
        for piece in self.rows.iter_mut().flat_map(|r| &mut r.turns).flat_map(|t| &mut t.blocks) {
            piece.text = piece.part_id.as_deref().and_then(&data).and_then(|json| words(json, piece.kind));
        }
    }
}

fn rows(session: &Session, cut: &Session, set: &'static RuleSet, sdk: &Sdk) -> Vec<Row> {
    let seen = view(&cut.messages, set);
    let Request { turns, skipped, .. } =
        newest(&seen, set).user.map(|user| request(&seen, set, sdk, user)).unwrap_or_default();
    let ends_badly = resume_in(&seen, set, sdk) == Resume::EndsWithAssistant;
    let last = turns.len().checked_sub(1).filter(|_| ends_badly);
    let mut by_row: HashMap<&str, Vec<Turn>> = HashMap::new();
    for (at, turn) in turns.iter().enumerate() {
        by_row.entry(turn.row.id()).or_default().push(Turn {
            role: turn.role,
            blocks: turn.blocks.iter().map(piece).collect(),
            offending: last == Some(at),
        });
    }
    let skipped: HashMap<&str, Why> = skipped.into_iter().collect();
    let sent: HashSet<&str> = seen.iter().map(|m| m.id()).collect();
    let kept: HashSet<&str> = cut.messages.iter().map(|m| m.id()).collect();
    let left_out = |message: &Message, why: Why| Row { skipped: Some(why), ..blank(message) };
    let compacted = cut.messages.iter().filter(|m| !sent.contains(m.id())).map(|m| left_out(m, Why::Compacted));
    let reverted = session.messages.iter().filter(|m| !kept.contains(m.id())).map(|m| left_out(m, Why::Reverted));
    let mut out: Vec<Row> = compacted.collect();
    out.extend(seen.iter().map(|message| Row {
        turns: by_row.remove(message.id()).unwrap_or_default(),
        skipped: skipped.get(message.id()).copied(),
        ..blank(message)
    }));
    out.extend(reverted);
    out
}

fn blank(message: &Message) -> Row {
    let a = message.assistant();
    Row {
        message_id: message.row.id.clone(),
        user: a.is_none(),
        time_ms: message.row.time_created,
        finish: a.and_then(|a| a.finish.as_deref().map(str::to_owned)),
        error: a.and_then(|a| a.error.as_ref()).map(|e| match () {
            () if e.prefill_400 => Failure::Prefill400,
            () if e.aborted() => Failure::Aborted,
            () => Failure::Other,
        }),
        summary: a.is_some_and(|a| a.summary),
        empty: message.removable(),
        turns: Vec::new(),
        skipped: None,
    }
}

fn piece(block: &Block<'_>) -> Piece {
    let call = block.call();
    Piece {
        kind: block.kind,
        bytes: block.bytes(),
        part_id: block.part_id().map(str::to_owned),
        tool: call.map(|c| c.tool.clone()),
        orphan: call.is_some_and(|c| c.orphan()),
        carries: block.carries.clone(),
        refused: None,
        text: None,
    }
}

fn generation(seen: &[&Message], set: &'static RuleSet, sdk: &Sdk, counts: bool) -> Generation {
    let newest = newest(seen, set);
    let mut goes_on = Vec::new();
    match newest.assistant {
        None => goes_on.push(GoesOn::NoAnswer),
        Some(row) => {
            let finish = row.assistant().and_then(|a| a.finish.as_deref().map(str::to_owned));
            if finish.as_deref().is_none_or(|f| set.unfinished.contains(&f)) {
                goes_on.push(GoesOn::Unfinished { finish });
            }
            let calls: Vec<_> = row.tools().filter(|(_, call)| set.counts(call)).collect();
            if !calls.is_empty() {
                goes_on.push(GoesOn::HoldsTools {
                    part_ids: calls.iter().map(|(part, _)| part.id().to_owned()).collect(),
                    orphans: calls.iter().all(|(_, call)| call.orphan()),
                });
            }
            if newest.user.is_some_and(|user| !set.paired(user, row)) {
                goes_on.push(GoesOn::AnswersAnother);
            }
        }
    }
    let id = |m: Option<&Message>| m.map(|m| m.row.id.clone());
    Generation {
        set,
        counts,
        resume: resume_in(seen, set, sdk),
        user: id(newest.user),
        assistant: id(newest.assistant),
        goes_on,
    }
}

/// What is sent of a part, from its JSON; `None` where nothing can be told.
fn words(json: &str, kind: BlockKind) -> Option<String> {
    let part = Object::parse(json).ok()?;
    let state = || part.object("state").ok().flatten();
    match kind {
        BlockKind::Text
        | BlockKind::BlankText
        | BlockKind::EmptyText
        | BlockKind::Thinking
        | BlockKind::EmptyThinking => string(part.get("text")?),
        BlockKind::ToolCall | BlockKind::ProviderToolCall => Some(state()?.get("input")?.to_owned()),
        BlockKind::ToolResult | BlockKind::ProviderToolResult => {
            let state = state()?;
            let cleared = state.object("time").ok().flatten().is_some_and(|t| t.truthy("compacted"));
            if cleared {
                // Pruned output is kept in the store, and sent as this.
                return Some("[Old tool result content cleared]".to_owned());
            }
            let metadata = state.object("metadata").ok().flatten();
            string(state.get("output").or_else(|| metadata?.get("output"))?)
        }
        BlockKind::ToolError => string(state()?.get("error")?),
        BlockKind::ToolInterrupted => Some("[Tool execution was interrupted]".to_owned()),
        BlockKind::File | BlockKind::UnreadableFile => string(part.get("filename")?),
        BlockKind::CompactionPrompt => Some("What did we do so far?".to_owned()),
        BlockKind::SubtaskPrompt => Some("The following tool was executed by the user".to_owned()),
        BlockKind::StandIn => Some(" ".to_owned()),
        BlockKind::MediaIntroduction => Some("Attached media from tool result:".to_owned()),
        BlockKind::Done => Some("Done.".to_owned()),
        BlockKind::Reminder | BlockKind::ReasoningDetail | BlockKind::ItemReference => None,
    }
}
