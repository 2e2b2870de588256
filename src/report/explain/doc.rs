//! `explain --json`.

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use super::opt_in;
use super::story::story;
use crate::diagnosis::Left;
use crate::explain::{AfterRepair, Explained, Explanation, Generation, GoesOn, NewerTurn, Piece, Row, Turn};
use crate::replay::{Resume, TurnRole, Why};
use crate::report::SessionDoc;
use crate::report::doc::SCHEMA_VERSION;
use crate::report::words::sentences;
use crate::stats::Cause;

/// `explain --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ExplainDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `explain`.
    #[schemars(extend("const" = "explain"))]
    command: &'static str,
    session: SessionDoc,
    /// The rules under which the turns are shown.
    rule_set: Option<&'static str>,
    resume: Resume,
    /// What the first of the refusals that keep it stuck came from.
    cause: Option<Cause>,
    /// Why it stands as it does, sentence by sentence.
    why: Vec<String>,
    /// The turns that would be sent, in order.
    turns: Vec<TurnDoc>,
    /// Of a session of opencode 2, the turns that would be sent before a new prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    turns_v2: Vec<NewerTurn>,
    /// Rows that give no turn.
    skipped: Vec<SkipDoc>,
    /// What every generation of the run loop does, oldest first.
    generations: Vec<GenerationDoc>,
    /// What a repair would do; null where there is nothing to repair.
    repair: Option<RepairDoc>,
    /// What would be sent after it; null where there is none, or where it would leave the session.
    after_repair: Option<AfterDoc>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct TurnDoc {
    /// Whose turn it is.
    role: TurnRole,
    /// The message rows that it comes from.
    message_ids: Vec<String>,
    /// The part rows that it comes from.
    part_ids: Vec<String>,
    /// What it holds, in order.
    blocks: Vec<Piece>,
    /// The request ends with it, and it is the assistant's.
    offending: bool,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct SkipDoc {
    /// The row.
    message_id: String,
    /// Why it gives no turn.
    why: Why,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct GenerationDoc {
    /// Its key.
    rule_set: &'static str,
    /// The first opencode version that was measured with it.
    first: String,
    /// The last one.
    last: String,
    /// It counts for this store.
    counts: bool,
    /// What re-entering does.
    resume: Resume,
    /// The newest prompt that it sees.
    newest_user: Option<String>,
    /// The newest answer that it sees.
    newest_assistant: Option<String>,
    /// Why it does not stop there; empty where it does.
    goes_on: Vec<GoesOn>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "RepairOfSession")]
struct RepairDoc {
    /// What it would do, in words.
    does: Vec<String>,
    /// Row edits that it would make.
    edits: usize,
    /// It has to be asked for.
    opt_in: bool,
    /// Why it would leave the session.
    left: Option<Left>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct AfterDoc {
    /// The turns that would be sent.
    turns: Vec<TurnDoc>,
    /// Rows that give no turn.
    skipped: Vec<SkipDoc>,
    /// What re-entering does.
    resume: Resume,
}

fn turn_docs(explanation: &Explanation) -> Vec<TurnDoc> {
    let one = |row: &Row, turn: &Turn| {
        let mut part_ids: Vec<String> = Vec::new();
        for id in turn.blocks.iter().filter_map(|b| b.part_id.as_ref()) {
            if !part_ids.contains(id) {
                part_ids.push(id.clone());
            }
        }
        TurnDoc {
            role: turn.role,
            message_ids: vec![row.message_id.clone()],
            part_ids,
            blocks: turn.blocks.clone(),
            offending: turn.offending,
        }
    };
    explanation.rows.iter().flat_map(|row| row.turns.iter().map(move |turn| one(row, turn))).collect()
}

fn skip_docs(explanation: &Explanation) -> Vec<SkipDoc> {
    let skipped = explanation.rows.iter().filter_map(|row| row.skipped.map(|why| (row, why)));
    skipped.map(|(row, why)| SkipDoc { message_id: row.message_id.clone(), why }).collect()
}

impl ExplainDoc {
    /// Puts the document together. `now` in ms since the epoch.
    #[must_use]
    pub fn new(explained: &Explained, now: i64, zone: &TimeZone) -> Self {
        let shown = explained.now.as_ref();
        let repair = explained.repair.as_ref().map(|repair| match repair {
            AfterRepair::Repaired(plan, _) => RepairDoc {
                does: sentences(&plan.steps, now, zone),
                edits: plan.edits.len(),
                opt_in: opt_in(&explained.diagnosis),
                left: None,
            },
            AfterRepair::Left(left) => {
                RepairDoc { does: Vec::new(), edits: 0, opt_in: opt_in(&explained.diagnosis), left: Some(left.clone()) }
            }
        });
        let after = match &explained.repair {
            Some(AfterRepair::Repaired(_, after)) => {
                Some(AfterDoc { turns: turn_docs(after), skipped: skip_docs(after), resume: after.resume })
            }
            _ => None,
        };
        Self {
            schema_version: SCHEMA_VERSION,
            command: "explain",
            session: SessionDoc::new(&explained.diagnosis, explained.sdk.as_ref()),
            rule_set: shown.map(|e| e.set.key),
            resume: shown.map_or(Resume::Unreadable, |e| e.resume),
            cause: explained.cause,
            why: story(explained, now, zone),
            turns: shown.map(turn_docs).unwrap_or_default(),
            turns_v2: explained.newer.clone(),
            skipped: shown.map(skip_docs).unwrap_or_default(),
            generations: shown.map(|e| e.generations.iter().map(GenerationDoc::of).collect()).unwrap_or_default(),
            repair,
            after_repair: after,
        }
    }
}

impl GenerationDoc {
    fn of(generation: &Generation) -> Self {
        Self {
            rule_set: generation.set.key,
            first: generation.set.measured.0.to_string(),
            last: generation.set.measured.1.to_string(),
            counts: generation.counts,
            resume: generation.resume,
            newest_user: generation.user.clone(),
            newest_assistant: generation.assistant.clone(),
            goes_on: generation.goes_on.clone(),
        }
    }
}
