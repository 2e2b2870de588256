//! The JSON documents, schema version 1 (docs/json.md). Fields are only ever added.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Output, clean};
use crate::audit::Import;
use crate::diagnosis::v2::Program;
use crate::diagnosis::{Code, Diagnosis, Doubt, Evidence, Finding, Format, Left, Status};
use crate::error::{Error, ErrorCode};
use crate::history::UnreadableRow;
use crate::json::Object;
use crate::repair::{Action, Plan, Redaction, SessionPlan, Step};
use crate::replay::{Bound, Resume};
use crate::rows::{Cell, Op, Row, RowEdit, Table, digest};
use crate::sdk::SdkChoice;
use crate::store::Facts;

/// Version of all documents.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// A store in a document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StoreDoc {
    /// The same for copies and after repairs.
    pub id: String,
    /// Where it is.
    pub path: Option<String>,
    /// Size in bytes, its -wal counted in.
    pub bytes: u64,
    /// Sessions of opencode 1.
    pub sessions: u64,
    /// Rows of `message`.
    pub messages: u64,
    /// Rows of `part`.
    pub parts: u64,
    /// Sessions of opencode 2.
    pub sessions_v2: u64,
    /// Rows of `session_message`, where they are opencode 2's.
    pub messages_v2: u64,
    /// Which opencode it was last used with.
    pub opencode: OpencodeDoc,
}

/// A lower bound of the opencode version.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OpencodeDoc {
    /// The version; `any` where every rule set counts.
    pub bound: String,
    /// Where that comes from.
    pub source: String,
}

impl StoreDoc {
    /// From what was read of a store.
    #[must_use]
    pub fn new(facts: &Facts, path: &std::path::Path, bound: &Bound) -> Self {
        Self {
            id: facts.id.clone(),
            path: Some(path.display().to_string()),
            bytes: facts.bytes,
            sessions: facts.sessions,
            messages: facts.messages,
            parts: facts.parts,
            sessions_v2: facts.sessions_v2,
            messages_v2: facts.messages_v2,
            opencode: OpencodeDoc {
                bound: bound.version.map_or_else(|| "any".to_owned(), |v| v.to_string()),
                source: bound.source.clone(),
            },
        }
    }
}

/// Counts over the sessions that were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// Sessions with rows that opencode cannot read; `None` where that was not looked at.
    pub unopenable: Option<u64>,
    /// Of the unreadable ones, sessions of opencode 2 with rows that it does not decode: they do not open, or take no prompt.
    pub undecodable: u64,
    /// Sessions of which every prompt is refused; `None` where that was not looked at.
    pub dead: Option<u64>,
    /// Sessions that are stuck.
    pub stuck: u64,
    /// Sessions at risk.
    pub at_risk: u64,
    /// Latent ones; `None` where that was not looked at.
    pub latent: Option<u64>,
    /// Recovered ones; `None` where that was not looked at.
    pub recovered: Option<u64>,
    /// Healthy ones; `None` where that was not looked at.
    pub healthy: Option<u64>,
    /// Sessions whose last prompt nobody answers; `None` where that was not looked at.
    pub waiting: Option<u64>,
    /// Sessions with rows that could not be understood.
    pub unreadable: u64,
    /// Tool calls that opencode cut off; `None` where they were not counted.
    pub orphans: Option<u64>,
    /// Stored prefill 400s; `None` where they were not counted.
    pub prefill_400s: Option<u64>,
    /// Rows that could not be understood.
    pub unreadable_rows: u64,
}

impl Summary {
    /// Counts. What only a look at whole histories tells is left out where `tails` alone were looked at.
    #[must_use]
    pub fn of<'a>(sessions: impl Iterator<Item = &'a Diagnosis>, unreadable_rows: u64, tails: bool) -> Self {
        let mut by: BTreeMap<Status, u64> = BTreeMap::new();
        let (mut orphans, mut prefill_400s, mut waiting, mut undecodable) = (0, 0, 0, 0);
        for d in sessions {
            *by.entry(d.status).or_default() += 1;
            waiting += u64::from(d.waits);
            undecodable += u64::from(d.undecodable());
            orphans += d.orphans.unwrap_or(0);
            prefill_400s += d.prefill_400s.unwrap_or(0);
        }
        let count = |status| by.get(&status).copied().unwrap_or(0);
        let whole = |n: u64| (!tails).then_some(n);
        Self {
            unopenable: whole(count(Status::Unopenable)),
            undecodable,
            dead: whole(count(Status::Dead)),
            stuck: count(Status::Stuck),
            at_risk: count(Status::AtRisk),
            latent: whole(count(Status::Latent)),
            recovered: whole(count(Status::Recovered)),
            healthy: whole(count(Status::Healthy)),
            waiting: whole(waiting),
            unreadable: count(Status::Unreadable),
            orphans: whole(orphans),
            prefill_400s: whole(prefill_400s),
            unreadable_rows,
        }
    }
}

/// An SDK package in a document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SdkDoc {
    /// The npm package.
    pub package: String,
    /// What decided.
    pub source: String,
}

impl From<&SdkChoice> for SdkDoc {
    fn from(choice: &SdkChoice) -> Self {
        Self { package: choice.package.clone(), source: choice.source.clone() }
    }
}

/// A session in a document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionDoc {
    /// Its id. A session that was imported has the same in both formats.
    pub id: String,
    /// Which opencode it is of.
    pub format: Format,
    /// Its title.
    pub title: String,
    /// The folder that it was made in.
    pub directory: String,
    /// The session that started it.
    pub parent_id: Option<String>,
    /// How it stands.
    pub status: Status,
    /// How sure that is.
    pub evidence: Option<Evidence>,
    /// Why it is only at risk; empty otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<Doubt>,
    /// `PROVIDER/MODEL` that re-entering sends to.
    pub model: Option<String>,
    /// The package behind that model.
    pub sdk: Option<SdkDoc>,
    /// Tool calls that opencode cut off; null where they were not counted.
    pub orphans: Option<u64>,
    /// Stored prefill 400s; null where they were not counted.
    pub prefill_400s: Option<u64>,
    /// What re-entering does, by rule set; empty for a session of opencode 2.
    pub resume: BTreeMap<&'static str, Resume>,
    /// What programs of opencode 2 do: released ones under `2.0`, and the preview. Empty for a session of opencode 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<&'static str, Program>,
    /// What there is to say.
    pub findings: Vec<Finding>,
    /// What opencode 2's import does to it; only where that is something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub import: Vec<Finding>,
}

impl SessionDoc {
    /// From a diagnosis.
    #[must_use]
    pub fn new(d: &Diagnosis, sdk: Option<&SdkChoice>) -> Self {
        Self {
            id: d.info.id.clone(),
            format: d.format,
            title: d.info.title.clone(),
            directory: d.info.directory.clone(),
            parent_id: d.info.parent_id.clone(),
            status: d.status,
            evidence: d.evidence,
            doubts: d.doubts.all().filter(|_| d.tail == Status::AtRisk).collect(),
            model: d.model.as_ref().map(ToString::to_string),
            sdk: sdk.map(SdkDoc::from),
            orphans: d.orphans,
            prefill_400s: d.prefill_400s,
            resume: d.resume.iter().copied().collect(),
            programs: d.programs.iter().copied().collect(),
            findings: d.findings.clone(),
            import: d.import.clone(),
        }
    }
}

/// `scan --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScanDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `scan`.
    #[schemars(extend("const" = "scan"))]
    command: &'static str,
    /// The store.
    pub store: StoreDoc,
    /// Counts.
    pub summary: Summary,
    /// Rows that could not be understood.
    pub unreadable_rows: Vec<UnreadableRow>,
    /// The sessions that are shown.
    pub sessions: Vec<SessionDoc>,
    /// How far opencode 2's import has come; null where the store does not tell.
    pub import: Option<Import>,
}

impl ScanDoc {
    /// Puts the document together.
    #[must_use]
    pub fn new(
        store: StoreDoc,
        summary: Summary,
        unreadable_rows: Vec<UnreadableRow>,
        sessions: Vec<SessionDoc>,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: "scan",
            store,
            summary,
            unreadable_rows,
            sessions,
            import: None,
        }
    }
}

/// `repair --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `repair`.
    #[schemars(extend("const" = "repair"))]
    command: &'static str,
    /// The store.
    pub store: StoreDoc,
    /// It was asked for a plan only.
    pub dry_run: bool,
    /// The plan was carried out.
    pub applied: bool,
    /// What takes it back.
    pub undo_id: Option<String>,
    /// The plan.
    pub plan: PlanDoc,
    /// Sessions that are left, and why.
    pub left: Vec<Left>,
    /// What keeps the plan from being carried out now; only where that is something.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<ErrorBody>,
}

/// A plan in a document: ids, marks, times and totals; contents by size and hash.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlanDoc {
    /// Session by session.
    pub sessions: Vec<SessionPlanDoc>,
}

/// The edits of one session.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionPlanDoc {
    /// The session.
    pub id: String,
    /// Which opencode it is of.
    pub format: Format,
    /// Its edits in order.
    pub edits: Vec<EditDoc>,
    /// What is done, step by step.
    pub steps: Vec<Step>,
    /// What the model is no longer sent, or is sent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<LeavesDoc>,
    /// What opencode still cannot read of it afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub still_unread: Vec<String>,
    /// The next prompt no longer sends an assistant's turn in which nothing was sent: no word, no call, no metadata.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_answers: bool,
}

/// One thing that the model is no longer sent, or is sent otherwise.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LeavesDoc {
    /// Why.
    pub code: Code,
    /// The message row.
    pub message_id: String,
    /// What it is.
    #[serde(flatten)]
    pub redaction: Redaction,
}

/// One row edit.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EditDoc {
    /// What is done.
    pub op: Op,
    /// The row's table.
    pub table: Table,
    /// The row's id.
    pub id: String,
    /// What changes.
    pub fields: BTreeMap<String, FieldDoc>,
    /// Size of the row's JSON in bytes.
    pub bytes: u64,
    /// The finding's code.
    pub reason: Option<Code>,
}

/// A field before and after.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FieldDoc {
    /// Before; null where there was none.
    pub before: serde_json::Value,
    /// After; null where there is none.
    pub after: serde_json::Value,
}

impl RepairDoc {
    /// Puts the document together.
    #[must_use]
    pub fn new(store: StoreDoc, dry_run: bool, plan: &Plan, left: Vec<Left>, text: bool) -> Self {
        let sessions = plan.sessions.iter().map(|s| SessionPlanDoc::new(s, text)).collect();
        Self {
            schema_version: SCHEMA_VERSION,
            command: "repair",
            store,
            dry_run,
            applied: false,
            undo_id: None,
            plan: PlanDoc { sessions },
            left,
            obstacles: Vec::new(),
        }
    }
}

impl SessionPlanDoc {
    fn new(plan: &SessionPlan, text: bool) -> Self {
        let steps: Vec<Step> = plan.steps.iter().map(|step| shown(step, text)).collect();
        let leaves = steps.iter().filter_map(|step| {
            let redaction = step.redaction()?.clone();
            Some(LeavesDoc { code: step.reason, message_id: step.message_id.clone(), redaction })
        });
        Self {
            id: plan.id.clone(),
            format: plan.format(),
            edits: plan.edits().map(|(edit, step)| EditDoc::new(edit, step.map(|s| s.reason), text)).collect(),
            leaves: leaves.collect(),
            still_unread: plan.still_unread.clone(),
            empty_answers: plan.empty_answers,
            steps,
        }
    }
}

/// A step, without what stands in place of a file where that holds the file's name and texts were not asked for.
fn shown(step: &Step, text: bool) -> Step {
    let mut step = step.clone();
    if let Action::Redact(redaction) = &mut step.action
        && !text
        && redaction.mime.is_some()
    {
        redaction.instead = None;
    }
    step
}

/// Fields of a row's JSON that are shown as they are; of any other only size and hash.
const SHOWN: [&str; 6] = ["role", "parentID", "finish", "cost", "tokens", "time"];

impl EditDoc {
    fn new(edit: &RowEdit, reason: Option<Code>, text: bool) -> Self {
        let mut fields = BTreeMap::new();
        let side = |row: &Option<Row>| row.as_ref().map(|row| fields_of(row, text)).unwrap_or_default();
        let (before, after) = (side(&edit.before), side(&edit.after));
        for name in before.keys().chain(after.keys()) {
            let value = |of: &BTreeMap<String, serde_json::Value>| of.get(name).cloned().unwrap_or_default();
            if before.get(name) != after.get(name) {
                fields.insert(name.clone(), FieldDoc { before: value(&before), after: value(&after) });
            }
        }
        let data = edit.after.as_ref().or(edit.before.as_ref()).and_then(|i| i.get("data"));
        let bytes = data.map_or(0, Cell::bytes);
        Self { op: edit.op(), table: edit.table, id: edit.id.clone(), fields, bytes, reason }
    }
}

fn fields_of(row: &Row, text: bool) -> BTreeMap<String, serde_json::Value> {
    let mut out = BTreeMap::new();
    for (name, cell) in row {
        match cell {
            Cell::Null => {}
            Cell::Int(n) => {
                out.insert(name.clone(), (*n).into());
            }
            Cell::Text(t) if name == "data" => match Object::parse(t) {
                Ok(object) => {
                    for (key, raw) in object.members() {
                        let shown = text || SHOWN.contains(&key);
                        let value = serde_json::from_str(raw).ok().filter(|_| shown);
                        out.insert(
                            format!("data.{key}"),
                            value.unwrap_or_else(|| hashed(raw.len() as u64, &digest(raw))),
                        );
                    }
                }
                Err(_) => {
                    out.insert(name.clone(), hashed(t.len() as u64, &digest(t)));
                }
            },
            Cell::Text(t) => {
                out.insert(name.clone(), t.clone().into());
            }
            Cell::Kept { bytes, sha256 } => {
                out.insert(name.clone(), hashed(*bytes, sha256));
            }
        }
    }
    out
}

fn hashed(bytes: u64, sha256: &str) -> serde_json::Value {
    serde_json::json!({ "bytes": bytes, "sha256": sha256 })
}

/// Several stores in one document of `scan --json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ScansDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// `scan`.
    #[schemars(extend("const" = "scan"))]
    command: &'static str,
    /// Store by store.
    stores: Vec<ScanDoc>,
}

impl ScansDoc {
    /// Puts the document together.
    #[must_use]
    pub fn new(stores: Vec<ScanDoc>) -> Self {
        Self { schema_version: SCHEMA_VERSION, command: "scan", stores }
    }
}

/// An error, in place of any other document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorDoc {
    /// Of all documents: 1.
    schema_version: u32,
    /// The error.
    error: ErrorBody,
}

/// An error in a document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// Its stable name (docs/errors.md).
    code: ErrorCode,
    /// What went wrong, in one sentence.
    message: String,
    /// What is behind it.
    cause: String,
    /// What to do next.
    hint: String,
}

impl ErrorBody {
    /// From an error.
    #[must_use]
    pub fn new(error: &Error) -> Self {
        Self {
            code: error.code(),
            message: clean(&error.to_string()),
            cause: error.cause().to_owned(),
            hint: clean(error.next()),
        }
    }
}

impl ErrorDoc {
    /// Puts the document together.
    #[must_use]
    pub fn new(error: &Error) -> Self {
        Self { schema_version: SCHEMA_VERSION, error: ErrorBody::new(error) }
    }

    /// The error's stable name.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.error.code
    }
}

/// The error for people, without a line break at its end: the sentence with its code, the cause, what to do next.
#[must_use]
pub fn error(out: &Output, doc: &ErrorDoc) -> String {
    let ErrorBody { code, message, cause, hint } = &doc.error;
    let labelled = |label: &str, text: &str| {
        let head = out.note_style("2", label);
        let text = out.wrap(&format!("{label}{text}"), "         ");
        text.replacen(label, &head, 1)
    };
    let head = format!("error[{code}]:");
    let first = out.wrap(&format!("{head} {message}"), "  ").replacen(&head, &out.note_style("31;1", &head), 1);
    [first, labelled("  cause: ", cause), labelled("  next:  ", hint)].join("\n")
}
