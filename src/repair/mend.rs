//! Taking out of a history what every request of it is refused for. Not without loss, so only what was asked for, the
//! least of it, and by opencode's own ways of leaving content out of a request.

use std::collections::BTreeSet;

use super::change::{Change, RowJson, apply_change, part_json};
use super::plan::Stop;
use super::proposals::touches_revert;
use super::step::{Action, Means, Redaction, Step};
use crate::diagnosis::request::{Broken, broken_in, sent_id};
use crate::diagnosis::{Code, Includes, LeftReason};
use crate::error::Result;
use crate::history::{Media, Message, Part, PartKind, Session, ToolState};
use crate::json::{self, Object};
use crate::replay::{RuleSet, Sdk};
use crate::rows::Lookup;

/// How often what is left is judged anew: taking one thing out may uncover another.
const ROUNDS: u32 = 8;

/// What is surely refused and may be taken out.
fn wanted(session: &Session, sdk: &Sdk, counting: &[&'static RuleSet], includes: Includes) -> Vec<Broken> {
    let found = broken_in(session, sdk, counting);
    found.into_iter().filter(|b| b.evidence.is_some() && includes.redacts(b.code)).collect()
}

/// Takes out what may be, until nothing is left to take. Returns the history then, and what was done.
///
/// # Errors
/// The reason for leaving the session as it is, or a row that cannot be read.
pub(super) fn mend(
    session: &Session,
    sdk: &Sdk,
    counting: &[&'static RuleSet],
    includes: Includes,
    rows: &dyn Lookup,
) -> Result<(Session, Vec<Step>), Stop> {
    let mut now = session.clone();
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..ROUNDS {
        let mut found = wanted(&now, sdk, counting, includes);
        if found.is_empty() {
            return Ok((now, steps));
        }
        // Attachments are counted from the front, so those at the back go first.
        found.sort_by(|a, b| (&a.message_id, &a.part_id, b.attachment).cmp(&(&b.message_id, &b.part_id, a.attachment)));
        found.dedup_by(|a, b| (&a.part_id, a.attachment) == (&b.part_id, b.attachment));
        for broken in found {
            let Some((changes, mut step)) = fix(&now, &broken, rows)? else {
                return Err(LeftReason::NoMend.into());
            };
            for change in changes {
                if touches_revert(session, &change) {
                    return Err(LeftReason::PendingRevert.into());
                }
                now = apply_change(&now, &change).map_err(|_| LeftReason::NoMend)?;
            }
            count_as_stored(&mut step, &steps);
            steps.push(step);
        }
    }
    Err(LeftReason::NoMend.into())
}

/// Counts a step's attachment among those that are stored, not among those that are still left.
fn count_as_stored(step: &mut Step, before: &[Step]) {
    let Action::Redact(redaction) = &mut step.action else { return };
    let Some(at) = &mut redaction.attachment else { return };
    let of_part = before.iter().filter_map(Step::redaction).filter(|r| r.part_id == redaction.part_id);
    let mut taken: Vec<usize> = of_part.filter_map(|r| r.attachment).collect();
    taken.sort_unstable();
    for earlier in taken {
        *at += usize::from(earlier <= *at);
    }
}

/// The changes that take one thing out, least loss first where there is a choice, and the step that they are. `None` where
/// it cannot be taken out.
fn fix(now: &Session, broken: &Broken, rows: &dyn Lookup) -> Result<Option<(Vec<Change>, Step)>> {
    let Some(message) = now.message(&broken.message_id).filter(|m| !m.assistant().is_some_and(|a| a.summary)) else {
        return Ok(None);
    };
    let Some(part) = message.parts.iter().find(|p| Some(p.id()) == broken.part_id.as_deref()) else { return Ok(None) };
    let data = part_json(part, rows)?;
    let aborted = aborted(message, rows)?;
    let fixed = data.and_then(|data| fixed(now, (message, part), broken, &data, aborted));
    Ok(fixed.map(|(changes, mut redaction)| {
        redaction.by = Means::of(&changes);
        let (message_id, time_ms) = (message.row.id.clone(), part.time_created);
        (changes, Step { message_id, time_ms, reason: broken.code, action: Action::Redact(redaction) })
    }))
}

/// What [`fix`] makes of the part's JSON; `aborted` is the row's JSON with the mark of an abort.
fn fixed(
    now: &Session,
    (message, part): (&Message, &Part),
    broken: &Broken,
    data: &str,
    aborted: Option<String>,
) -> Option<(Vec<Change>, Redaction)> {
    let object = Object::parse(data).ok()?;
    let set = |data: String| Change::SetPart {
        id: message.row.id.clone(),
        part: part.id().to_owned(),
        data,
        reason: broken.code,
    };
    let leaves = |mime: Option<&str>, bytes, instead| {
        let (part_id, what, mime) = (part.id().to_owned(), broken.detail.clone(), mime.map(str::to_owned));
        Redaction { part_id, attachment: broken.attachment, by: Means::Rewritten, what, mime, bytes, instead }
    };
    match (broken.code, &part.kind) {
        (Code::BlankText, PartKind::Text { .. }) => {
            let changes = blank(message, part, &object, aborted)?;
            Some((changes, leaves(None, 0, None)))
        }
        (Code::ImageSize | Code::BadImage | Code::TooManyImages | Code::UnsendableFile, _) => {
            let file = without_file(part, broken, &object)?;
            let (mime, bytes) = (Some(file.media.mime.as_str()), file.media.base64.unwrap_or(0));
            Some((vec![set(file.data)], leaves(mime, bytes, file.instead)))
        }
        (Code::CallId, PartKind::Tool(call)) => {
            let id = fresh_id(now, &call.call_id, part.id());
            let instead = Some(id.clone());
            Some((vec![set(object.with("callID", &json::quote(&id)))], leaves(None, 0, instead)))
        }
        (Code::ProviderCall, PartKind::Tool(_)) => {
            let metadata = Object::parse(object.some("metadata")?).ok()?.without("providerExecuted");
            Some((vec![set(object.with("metadata", &metadata))], leaves(None, 0, Some("an ordinary call".into()))))
        }
        (Code::EmptyMessage | Code::ThinkingLast, PartKind::Reasoning { .. }) => {
            let changes = last_thinking(message, part, &object, broken.code, aborted)?;
            Some((changes, leaves(None, part.bytes, None)))
        }
        (Code::EmptyMessage, PartKind::Text { .. }) | (Code::SplitCall, PartKind::StepStart) => {
            let (id, part) = (message.row.id.clone(), part.id().to_owned());
            Some((vec![Change::RemovePart { id, part, reason: broken.code }], leaves(None, 0, None)))
        }
        (Code::StaleItemId, _) => {
            let metadata = without_names(object.some("metadata")?)?;
            Some((vec![set(object.with("metadata", &metadata))], leaves(None, 0, None)))
        }
        (Code::UnsignedCall, PartKind::Tool(_)) => {
            let data = with_stand_in(part, &object)?;
            Some((vec![set(data)], leaves(None, 0, Some(STAND_IN.to_owned()))))
        }
        (Code::BadSignature, PartKind::Reasoning { .. }) => {
            let metadata = Object::parse(object.some("metadata")?).ok()?;
            let data = object.with("metadata", &metadata.without("anthropic"));
            Some((vec![set(data)], leaves(None, part.bytes, None)))
        }
        (Code::BadEncryptedReasoning | Code::ReasoningAlone, _) => {
            let metadata = without_secrets(part, object.some("metadata")?)?;
            Some((vec![set(object.with("metadata", &metadata))], leaves(None, part.bytes, None)))
        }
        _ => None,
    }
}

/// A part's JSON without a file.
struct WithoutFile<'a> {
    data: String,
    media: &'a Media,
    instead: Option<String>,
}

fn without_file<'a>(part: &'a Part, broken: &Broken, object: &Object<'_>) -> Option<WithoutFile<'a>> {
    match &part.kind {
        PartKind::File(media) => {
            // What opencode itself sends for a file where it leaves media out (read in 1.14.48 and 1.18.34).
            let name = object.string("filename").ok()?.unwrap_or_else(|| "file".to_owned());
            let text = format!("[Attached {}: {name}]", media.mime);
            let data = format!("{{\"type\":\"text\",\"text\":{}}}", json::quote(&text));
            Some(WithoutFile { data, media, instead: Some(text) })
        }
        PartKind::Tool(call) => {
            let ToolState::Completed { attachments, .. } = &call.state else { return None };
            let at = broken.attachment?;
            let media = attachments.get(at)?;
            let state = Object::parse(object.some("state")?).ok()?;
            let mut rest = json::array(state.some("attachments")?)?;
            rest.remove(at);
            let state = if rest.is_empty() {
                state.without("attachments")
            } else {
                state.with("attachments", &format!("[{}]", rest.join(",")))
            };
            Some(WithoutFile { data: object.with("state", &state), media, instead: None })
        }
        _ => None,
    }
}

/// The metadata of a part without what only the provider can read, and without the names that it gave to its thinking.
fn without_secrets(part: &Part, metadata: &str) -> Option<String> {
    let without = |raw: &str, key: &str| Object::parse(raw).ok().map(|object| object.without(key));
    let mut out = metadata.to_owned();
    for (namespace, raw) in Object::parse(metadata).ok()?.members() {
        let Ok(inner) = Object::parse(raw) else { continue };
        let mut rest = without(&without(raw, "reasoningEncryptedContent")?, "reasoningOpaque")?;
        if part.is_reasoning() {
            rest = without(&rest, "itemId")?;
        }
        if let Some(details) = inner.some("reasoning_details").and_then(json::array) {
            let readable: Vec<&str> = details.into_iter().filter(|raw| !is_encrypted(raw)).collect();
            rest = match readable.as_slice() {
                [] => without(&rest, "reasoning_details")?,
                some => Object::parse(&rest).ok()?.with("reasoning_details", &format!("[{}]", some.join(","))),
            };
        }
        out = Object::parse(&out).ok()?.with(namespace, &rest);
    }
    Some(out)
}

/// The metadata of a part without the names that the provider gave to items.
fn without_names(metadata: &str) -> Option<String> {
    let mut out = metadata.to_owned();
    for (namespace, raw) in Object::parse(metadata).ok()?.members() {
        if let Ok(inner) = Object::parse(raw) {
            out = Object::parse(&out).ok()?.with(namespace, &inner.without("itemId"));
        }
    }
    Some(out)
}

/// What Google takes for the signature of a call that it did not make.
const STAND_IN: &str = "skip_thought_signature_validator";

/// A call's JSON with the stand-in, where the package looks for a signature.
fn with_stand_in(part: &Part, object: &Object<'_>) -> Option<String> {
    let namespace = part.metadata().first().map_or("google", |meta| &meta.namespace);
    let metadata = object.some("metadata").unwrap_or("{}");
    let metadata = Object::parse(metadata).ok()?;
    let inner = Object::parse(metadata.some(namespace).unwrap_or("{}")).ok()?;
    let inner = inner.with("thoughtSignature", &json::quote(STAND_IN));
    Some(object.with("metadata", &metadata.with(namespace, &inner)))
}

/// Whether one of OpenRouter's details can be read by the provider alone.
fn is_encrypted(detail: &str) -> bool {
    let kind = Object::parse(detail).ok().and_then(|detail| detail.some("type").and_then(json::string));
    kind.as_deref() == Some("reasoning.encrypted")
}

/// Takes a blank text out. A prompt's is marked as ignored, which opencode does not send; an answer's is removed, and
/// where only thinking is left then, the answer is marked as aborted, which opencode passes over: Claude refuses an
/// answer that ends with thinking.
fn blank(message: &Message, part: &Part, object: &Object<'_>, aborted: Option<String>) -> Option<Vec<Change>> {
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
            out.push(Change::SetData { id, data: aborted?, reason });
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
    aborted: Option<String>,
) -> Option<Vec<Change>> {
    let (id, a) = (message.row.id.clone(), message.assistant()?);
    if a.error.is_none() && message.parts.iter().all(passed_over) {
        return Some(vec![Change::SetData { id, data: aborted?, reason }]);
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
fn aborted(message: &Message, rows: &dyn Lookup) -> Result<Option<String>> {
    let error = r#"{"name":"MessageAbortedError","data":{"message":"Aborted"}}"#;
    Ok(RowJson::of(message, rows)?.map(|json| json.set("error", error).text()))
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
