//! Taking out of a history what every request of it is refused for. Not without loss, so only what was asked for, the
//! least of it, and by opencode's own ways of leaving content out of a request.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::change::{Change, RowJson, apply_change};
use super::steps::touches_revert;
use super::{Allowed, Rows};
use crate::diagnosis::request::{Broken, broken_in, sent_id};
use crate::diagnosis::{Code, LeftReason};
use crate::history::{Media, Message, Part, PartKind, Session, ToolState};
use crate::json::{self, Object};
use crate::replay::{RuleSet, Sdk};

/// One thing that the model is no longer sent, or is sent otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leaves {
    /// Why.
    pub code: String,
    /// The message row.
    pub message_id: String,
    /// The part row.
    pub part_id: String,
    /// Which of the part's attachments, from 0; `None` where it is the part itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<usize>,
    /// What is wrong with it.
    pub what: String,
    /// The media type of a file that leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Its size, as base64 where it is a file, in bytes.
    pub bytes: u64,
    /// What is sent in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<String>,
}

/// A history with what was refused taken out.
#[derive(Debug, Clone, Default)]
pub(super) struct Mended {
    /// Why each row was touched.
    pub(super) reasons: BTreeMap<String, Code>,
    /// What left.
    pub(super) leaves: Vec<Leaves>,
}

/// How often what is left is judged anew: taking one thing out may uncover another.
const ROUNDS: u32 = 8;

impl Allowed {
    /// Whether anything may be taken out.
    #[must_use]
    pub fn mends_any(&self) -> bool {
        self.blank_text || self.media || self.calls || self.signatures
    }

    /// Whether what the code stands for may be taken out.
    #[must_use]
    pub fn mends(&self, code: Code) -> bool {
        match code.include() {
            Some("blank-text") => self.blank_text,
            Some("media") => self.media,
            Some("calls") => self.calls,
            Some("signatures") => self.signatures,
            _ => false,
        }
    }
}

/// What is surely refused and may be taken out.
pub(super) fn wanted(session: &Session, sdk: &Sdk, counting: &[&'static RuleSet], allowed: Allowed) -> Vec<Broken> {
    let found = broken_in(session, sdk, counting);
    found.into_iter().filter(|b| b.evidence.is_some() && allowed.mends(b.code)).collect()
}

/// Takes out what may be, until nothing is left to take.
///
/// # Errors
/// The reason for leaving the session as it is.
pub(super) fn mend(
    session: &Session,
    sdk: &Sdk,
    counting: &[&'static RuleSet],
    allowed: Allowed,
    rows: &dyn Rows,
) -> Result<(Session, Mended), LeftReason> {
    let mut now = session.clone();
    let mut out = Mended::default();
    for _ in 0..ROUNDS {
        let mut found = wanted(&now, sdk, counting, allowed);
        if found.is_empty() {
            return Ok((now, out));
        }
        // Attachments are counted from the front, so those at the back go first.
        found.sort_by(|a, b| (&a.message_id, &a.part_id, b.attachment).cmp(&(&b.message_id, &b.part_id, a.attachment)));
        found.dedup_by(|a, b| (&a.part_id, a.attachment) == (&b.part_id, b.attachment));
        for broken in found {
            let Some((changes, leaves)) = fix(&now, &broken, rows) else {
                return Err(LeftReason::NoMend);
            };
            for change in changes {
                if touches_revert(session, &change) {
                    return Err(LeftReason::PendingRevert);
                }
                now = apply_change(&now, &change).map_err(|_| LeftReason::NoMend)?;
                out.reasons.insert(broken.message_id.clone(), broken.code);
            }
            out.leaves.extend(leaves.map(|l| counted_as_stored(l, &out.leaves)));
        }
    }
    Err(LeftReason::NoMend)
}

/// The same with its attachment counted among those that are stored, not among those that are still left.
fn counted_as_stored(mut leaves: Leaves, gone: &[Leaves]) -> Leaves {
    if let Some(at) = &mut leaves.attachment {
        let mut taken: Vec<usize> =
            gone.iter().filter(|l| l.part_id == leaves.part_id).filter_map(|l| l.attachment).collect();
        taken.sort_unstable();
        for before in taken {
            *at += usize::from(before <= *at);
        }
    }
    leaves
}

/// The changes that take one thing out, least loss first where there is a choice, and what leaves with them.
fn fix(now: &Session, broken: &Broken, rows: &dyn Rows) -> Option<(Vec<Change>, Option<Leaves>)> {
    let message = now.message(&broken.message_id)?;
    if message.assistant().is_some_and(|a| a.summary) {
        return None;
    }
    let part = message.parts.iter().find(|p| Some(p.id()) == broken.part_id.as_deref())?;
    let data = part.changed.as_deref().map(str::to_owned).or_else(|| rows.part(part.id()))?;
    let object = Object::parse(&data).ok()?;
    let set = |data: String| Change::SetPart {
        id: message.row.id.clone(),
        part: part.id().to_owned(),
        data,
        reason: broken.code,
    };
    let leaves = |mime: Option<&str>, bytes: u64, instead: Option<String>| Leaves {
        code: broken.code.to_string(),
        message_id: message.row.id.clone(),
        part_id: part.id().to_owned(),
        attachment: broken.attachment,
        what: broken.detail.clone(),
        mime: mime.map(str::to_owned),
        bytes,
        instead,
    };
    let media = |m: &Media, instead: Option<String>| leaves(Some(&m.mime), m.base64.unwrap_or(0), instead);
    match (broken.code, &part.kind) {
        (Code::BlankText, PartKind::Text { .. }) => {
            let changes = blank(message, part, &object, rows)?;
            Some((changes, Some(leaves(None, 0, None))))
        }
        (Code::ImageSize | Code::BadImage | Code::TooManyImages | Code::UnsendableFile, PartKind::File(file)) => {
            // What opencode itself sends for a file where it leaves media out (read in 1.14.48 and 1.18.34).
            let name = object.string("filename").ok()?.unwrap_or_else(|| "file".to_owned());
            let text = format!("[Attached {}: {name}]", file.mime);
            let data = format!("{{\"type\":\"text\",\"text\":{}}}", json::quote(&text));
            Some((vec![set(data)], Some(media(file, Some(text)))))
        }
        (Code::ImageSize | Code::BadImage | Code::TooManyImages | Code::UnsendableFile, PartKind::Tool(call)) => {
            let ToolState::Completed { attachments, .. } = &call.state else { return None };
            let at = broken.attachment?;
            let file = attachments.get(at)?;
            let state = Object::parse(object.some("state")?).ok()?;
            let mut rest = json::array(state.some("attachments")?)?;
            rest.remove(at);
            let state = if rest.is_empty() {
                state.without("attachments")
            } else {
                state.with("attachments", &format!("[{}]", rest.join(",")))
            };
            Some((vec![set(object.with("state", &state))], Some(media(file, None))))
        }
        (Code::CallId, PartKind::Tool(call)) => {
            let id = fresh_id(now, &call.call_id, part.id());
            let instead = Some(id.clone());
            Some((vec![set(object.with("callID", &json::quote(&id)))], Some(leaves(None, 0, instead))))
        }
        (Code::ProviderCall, PartKind::Tool(_)) => {
            let metadata = Object::parse(object.some("metadata")?).ok()?.without("providerExecuted");
            Some((
                vec![set(object.with("metadata", &metadata))],
                Some(leaves(None, 0, Some("an ordinary call".into()))),
            ))
        }
        (Code::EmptyMessage | Code::ThinkingLast, PartKind::Reasoning { .. }) => {
            let changes = last_thinking(message, part, &object, broken.code, rows)?;
            Some((changes, Some(leaves(None, part.bytes, None))))
        }
        (Code::BadSignature, PartKind::Reasoning { .. }) => {
            let metadata = Object::parse(object.some("metadata")?).ok()?;
            let data = object.with("metadata", &metadata.without("anthropic"));
            Some((vec![set(data)], Some(leaves(None, part.bytes, None))))
        }
        _ => None,
    }
}

/// Takes a blank text out. A prompt's is marked as ignored, which opencode does not send; an answer's is removed, and
/// where only thinking is left then, the answer is marked as aborted, which opencode passes over: Claude refuses an
/// answer that ends with thinking.
fn blank(message: &Message, part: &Part, object: &Object<'_>, rows: &dyn Rows) -> Option<Vec<Change>> {
    let (id, reason) = (message.row.id.clone(), Code::BlankText);
    let Some(a) = message.assistant() else {
        let data = object.with("ignored", "true");
        return Some(vec![Change::SetPart { id, part: part.id().to_owned(), data, reason }]);
    };
    let mut out = vec![Change::RemovePart { id: id.clone(), part: part.id().to_owned(), reason }];
    let rest = || message.parts.iter().filter(|p| p.id != part.id);
    let speaks = |p: &Part| matches!(p.kind, PartKind::Text { .. } | PartKind::Tool(_) | PartKind::File(_));
    let thinks = |p: &Part| matches!(p.kind, PartKind::Reasoning { .. });
    if !rest().any(speaks) && rest().any(thinks) {
        if a.error.is_none() && rest().all(passed_over) {
            out.push(Change::SetData { id, data: aborted(message, rows)?, reason });
        } else if a.error.is_none() {
            out.extend(rest().filter(|p| thinks(p)).map(|p| Change::RemovePart {
                id: id.clone(),
                part: p.id().to_owned(),
                reason,
            }));
        }
    }
    Some(out)
}

/// Takes thinking out that stands alone or last. An answer of nothing else is marked as aborted, which opencode passes over;
/// of another one the thinking loses what vouches for it, so that it stays stored and is not sent, or, where the message
/// would then be without content, goes.
fn last_thinking(
    message: &Message,
    part: &Part,
    object: &Object<'_>,
    reason: Code,
    rows: &dyn Rows,
) -> Option<Vec<Change>> {
    let (id, a) = (message.row.id.clone(), message.assistant()?);
    if a.error.is_none() && message.parts.iter().all(passed_over) {
        return Some(vec![Change::SetData { id, data: aborted(message, rows)?, reason }]);
    }
    let speaks = |p: &Part| matches!(p.kind, PartKind::Text { .. } | PartKind::Tool(_) | PartKind::File(_));
    if reason == Code::EmptyMessage || !message.parts.iter().any(speaks) {
        return Some(vec![Change::RemovePart { id, part: part.id().to_owned(), reason }]);
    }
    let metadata = Object::parse(object.some("metadata")?).ok()?;
    let data = object.with("metadata", &metadata.without("anthropic"));
    Some(vec![Change::SetPart { id, part: part.id().to_owned(), data, reason }])
}

/// Whether opencode passes over an answer that is marked as aborted and holds nothing but parts like this.
fn passed_over(part: &Part) -> bool {
    matches!(part.kind, PartKind::StepStart | PartKind::Reasoning { .. })
}

/// The row's JSON with the mark of an abort, in opencode's words.
fn aborted(message: &Message, rows: &dyn Rows) -> Option<String> {
    let error = r#"{"name":"MessageAbortedError","data":{"message":"Aborted"}}"#;
    Some(RowJson::of(message, rows)?.set("error", error).text())
}

/// An id for a call that no other call of the session has, also as it is sent.
fn fresh_id(now: &Session, old: &str, part: &str) -> String {
    let taken: BTreeSet<String> =
        now.messages.iter().flat_map(|m| m.tools()).map(|(_, t)| sent_id(&t.call_id)).collect();
    let stem = if old.is_empty() { format!("call_{}", part.trim_start_matches("prt_")) } else { sent_id(old) };
    let numbered = (2u32..).map(|n| format!("{stem}_{n}"));
    let first = old.is_empty().then(|| stem.clone());
    first.into_iter().chain(numbered).find(|id| !taken.contains(&sent_id(id))).unwrap_or(stem)
}
