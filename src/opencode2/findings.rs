//! What is wrong with a session of opencode 2, row by row.

use super::decode;
use super::edit::{self, Edit};
use super::generation::Generation;
use super::history::{self, Entry};
use super::json::{Raw, Text};
use super::predict::{self, Session, Way};
use super::request::{self, Piece, Said, Speaker};
use super::rows::{Message, MessageRow, Model, Part, Status, Tool};
use super::shape::Misfit;
use super::wire::{self, Api};
use crate::history::refuses_prefill;

/// What kind of fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::Display, strum::EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum Code {
    /// The session's own row does not decode: the session is in no list any more.
    UndecodableSession,
    /// A message's row does not decode. From the newest summary on the session can neither be opened nor prompted; before
    /// it the messages cannot be listed.
    UndecodableRow,
    /// A waiting prompt does not decode: no run gets past it when its turn has come.
    UndecodablePrompt,
    /// The provider's state that the stored refusal is about is still sent: encrypted reasoning, or an item's id.
    RefusedState,
    /// The signature of thinking that the stored refusal is about is still sent.
    RefusedSignature,
    /// A call that a provider ran, which the session's model cannot be sent.
    ProviderCall,
    /// The id of a call that an earlier call has.
    CallIdTwice,
    /// Thinking without a signature, which Claude refuses on every prompt (the preview alone sends it).
    UnsignedThinking,
    /// A stored 400 about the last turn. There is nothing to repair: see [`Prefill`].
    PrefillRefusal,
}

/// What a stored 400 about the last turn comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    /// The history before it ends with the assistant's turn: the session was resumed by a program that adds no notice.
    /// Released programs end a resumed request with the user's turn, so that it does not come again.
    Tail,
    /// The history before it ends with the user's turn. opencode put a turn of its own at the end, because the agent had
    /// no step left. Nothing of it is stored.
    StepLimit,
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'a> {
    /// What it is.
    pub code: Code,
    /// The row: a message's, a waiting prompt's, or the session's.
    pub row: &'a str,
    /// The place in the row's `content`.
    pub part: Option<usize>,
    /// What does not decode.
    pub misfit: Option<Misfit>,
    /// What a refusal comes from.
    pub prefill: Option<Prefill>,
    /// For rows that do not decode: whether prompts fail too.
    pub blocks: bool,
    /// The change of the row that mends it, where one was measured.
    pub edit: Option<Edit>,
}

impl<'a> Finding<'a> {
    fn new(code: Code, row: &'a str) -> Self {
        Self { code, row, part: None, misfit: None, prefill: None, blocks: false, edit: None }
    }

    fn at(code: Code, row: &'a str, part: Option<usize>) -> Self {
        Self { part, ..Self::new(code, row) }
    }

    fn misfit(code: Code, undecodable: super::rows::Undecodable<'a>, blocks: bool) -> Self {
        Self { misfit: Some(undecodable.why), blocks, ..Self::new(code, undecodable.id) }
    }
}

/// Everything that is wrong with a session, for a program and the protocol that its model is spoken to with.
#[must_use]
pub fn all<'a>(generation: &Generation, session: &Session<'a>, api: Api) -> Vec<Finding<'a>> {
    let mut out = Vec::new();
    out.extend(decode::session(&session.row).err().map(|bad| Finding::misfit(Code::UndecodableSession, bad, true)));
    for row in session.waiting {
        if let Err(bad) = decode::waiting(row) {
            // What is delivered in no way that is known waits for ever and stops nobody.
            let taken = row.kind == "compaction" || matches!(row.delivery, Some("steer" | "queue"));
            out.push(Finding::misfit(Code::UndecodablePrompt, bad, taken));
        }
    }
    let entries = decodable(generation, session.messages, &mut out);
    let model = session.row.model.and_then(decode::model_of);
    // A prompt carries a staged revert out first.
    let end = predict::revert(session, Way::Prompt).unwrap_or(i64::MAX);
    let sent = &entries[..entries.partition_point(|entry| entry.row.seq < end)];
    let said = request::said(generation, sent, model);
    provider_calls(api, &said, &mut out);
    calls_twice(&said, &mut out);
    unsigned(generation, api, &said, &mut out);
    refused_state(generation, api, entries, &said, &mut out);
    prefills(generation, entries, model, &mut out);
    out
}

/// The history, of which some rows may not decode; a finding for each row of the session that does not.
fn decodable<'a>(generation: &Generation, entries: &'a [Entry<'a>], out: &mut Vec<Finding<'a>>) -> &'a [Entry<'a>] {
    let beginning = history::beginning(entries);
    let from = beginning.as_ref().copied().unwrap_or_default();
    for (at, entry) in entries.iter().enumerate() {
        if let Err(bad) = entry.message(generation) {
            let stops = beginning.as_ref().is_err_and(|first| first.id == bad.id);
            let edit = fills(&entry.row, &bad.why);
            let found = Finding::misfit(Code::UndecodableRow, bad, stops || at >= from);
            out.push(Finding { edit, ..found });
        }
    }
    &entries[from..]
}

/// The change after which a row decodes, where nothing but its `time.created` is missing: opencode writes the row's own column
/// with the same number.
fn fills(row: &MessageRow<'_>, why: &Misfit) -> Option<Edit> {
    let edit = Edit::Created { ms: row.time_created };
    let filled =
        edit::apply(row.data, &[edit]).ok().filter(|_| matches!(why.place.as_str(), "time" | "time.created"))?;
    decode::message(&MessageRow { data: &filled, ..*row }).is_ok().then_some(edit)
}

fn provider_calls<'a>(api: Api, said: &[Said<'a, '_>], out: &mut Vec<Finding<'a>>) {
    for one in said {
        for (part, piece) in &one.pieces {
            if let Piece::Result(tool, _) = piece
                && tool.executed
                && !wire::takes_hosted(api, tool)
            {
                out.push(Finding::at(Code::ProviderCall, one.row, *part));
            }
        }
    }
}

fn calls_twice<'a>(said: &[Said<'a, '_>], out: &mut Vec<Finding<'a>>) {
    let mut ids = std::collections::HashSet::new();
    for one in said {
        for (part, piece) in &one.pieces {
            if let Piece::Call(tool, _) = piece
                && !ids.insert(tool.id.decode())
            {
                out.push(Finding::at(Code::CallIdTwice, one.row, *part));
            }
        }
    }
}

fn unsigned<'a>(generation: &Generation, api: Api, said: &[Said<'a, '_>], out: &mut Vec<Finding<'a>>) {
    if generation.unsigned_as_text || api != Api::Anthropic {
        return;
    }
    for one in said {
        for (part, piece) in &one.pieces {
            let Piece::Reasoning(words, state) = piece else { continue };
            let member = |name| state.and_then(|state: Raw<'_>| state.string(name));
            let signed = member("signature").is_some_and(|signature| !signature.is_empty());
            let redacted = member("signature").is_none() && member("redactedData").is_some();
            if !signed && !redacted {
                // Claude refuses blank text as well, and an empty one is not sent.
                let text = part.filter(|_| words.is_empty() || !words.is_blank());
                let edit = text.map(|part| Edit::ThinkingAsText { part, empty: words.is_empty() });
                out.push(Finding { edit, ..Finding::at(Code::UnsignedThinking, one.row, *part) });
            }
        }
    }
}

/// Words of a refusal that is about state, and the name of the state. Lower case; the sources are the texts of
/// opencode's issues 48741, 48973, 49247 and 50397, and those of docs/opencode.md §12.
const STATE_TEXTS: [(&str, &str); 5] = [
    ("encrypted content", ENCRYPTED),
    ("encrypted_content", ENCRYPTED),
    ("without its required following item", ITEM),
    ("invalid `signature` in `thinking` block", SIGNATURE),
    ("invalid signature in thinking block", SIGNATURE),
];
const ENCRYPTED: &str = "reasoningEncryptedContent";
const SIGNATURE: &str = "signature";
const ITEM: &str = "itemId";

/// The name of the state that the history's last refusal is about. Answers without content that failed for another reason
/// tell nothing of it.
fn state_refusal(generation: &Generation, entries: &[Entry<'_>]) -> Option<&'static str> {
    for entry in entries.iter().rev() {
        let Ok(Message::Assistant(answer)) = entry.message(generation) else { continue };
        let (_, message) = answer.error?;
        let message = message.decode().to_lowercase();
        let about = STATE_TEXTS.iter().find(|(words, _)| message.contains(words));
        if about.is_some() || !answer.parts.is_empty() {
            return about.map(|(_, name)| *name);
        }
    }
    None
}

fn refused_state<'a>(
    generation: &Generation,
    api: Api,
    entries: &[Entry<'a>],
    said: &[Said<'a, '_>],
    out: &mut Vec<Finding<'a>>,
) {
    let Some(name) = state_refusal(generation, entries) else { return };
    let (code, measured) = match (name, api) {
        (SIGNATURE, api) => (Code::RefusedSignature, api == Api::Anthropic),
        (name, Api::Responses { stateless: true }) => (Code::RefusedState, name == ENCRYPTED),
        _ => (Code::RefusedState, false),
    };
    for one in said {
        for (part, piece) in &one.pieces {
            let (Piece::Text(_, state) | Piece::Reasoning(_, state) | Piece::Call(_, state) | Piece::Result(_, state)) =
                piece
            else {
                continue;
            };
            // Signatures and encrypted content are sent with thinking alone.
            let sent = name == ITEM || matches!(piece, Piece::Reasoning(..));
            if sent && state.is_some_and(|state| state.string(name).is_some()) {
                let edit = part.filter(|_| measured).map(|part| Edit::DropState { part });
                out.push(Finding { edit, ..Finding::at(code, one.row, *part) });
            }
        }
    }
}

/// Whether a row's error is a refusal about the last turn.
fn is_prefill(error: Option<(Text<'_>, Text<'_>)>) -> bool {
    error.is_some_and(|(_, message)| {
        let message = message.decode().to_lowercase();
        refuses_prefill(|words| message.contains(words))
    })
}

fn prefills<'a>(generation: &Generation, entries: &[Entry<'a>], model: Option<Model<'a>>, out: &mut Vec<Finding<'a>>) {
    let refused = |entry: &Entry<'_>| match entry.message(generation) {
        Ok(Message::Assistant(answer)) => is_prefill(answer.error),
        _ => false,
    };
    if !entries.iter().any(refused) {
        return;
    }
    let mut last = None;
    for entry in entries {
        if refused(entry) {
            let prefill = if last == Some(Speaker::Assistant) { Prefill::Tail } else { Prefill::StepLimit };
            out.push(Finding { prefill: Some(prefill), ..Finding::new(Code::PrefillRefusal, entry.row.id) });
        }
        let said = request::said(generation, std::slice::from_ref(entry), model);
        last = said.last().map(|said| said.speaker).or(last);
    }
}

/// Something that happened in a session, for the tables over time.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What happened.
    pub kind: EventKind,
    /// The row that tells it.
    pub row: &'a str,
    /// When, in ms since the epoch: the end of the call, or the row's creation.
    pub ms: f64,
    /// The model that gave the answer.
    pub model: Model<'a>,
    /// The tool and the call's id.
    pub call: Option<(Text<'a>, Text<'a>)>,
    /// What the provider said.
    pub text: Option<Text<'a>>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A call was cut off: an orphan of opencode 1's kind.
    Orphan,
    /// A request was refused because of its last turn.
    Prefill,
}

/// The calls that were cut off and the refusals about the last turn, in all rows that decode, oldest first.
#[must_use]
pub fn events<'a>(generation: &Generation, entries: &[Entry<'a>]) -> Vec<Event<'a>> {
    let mut out = Vec::new();
    for entry in entries {
        let Ok(Message::Assistant(answer)) = entry.message(generation) else { continue };
        let row = &entry.row;
        #[allow(clippy::cast_precision_loss, reason = "milliseconds since the epoch are far below 2^53")]
        let created = row.time_created as f64;
        let event = |kind, ms| Event { kind, row: row.id, ms, model: answer.model, call: None, text: None };
        for part in &answer.parts {
            if let Part::Tool(tool) = part
                && is_orphan(tool)
            {
                let call = Some((tool.name, tool.id));
                out.push(Event { call, ..event(EventKind::Orphan, tool.ended.unwrap_or(created)) });
            }
        }
        if is_prefill(answer.error) {
            let text = answer.error.map(|(_, text)| text);
            out.push(Event { text, ..event(EventKind::Prefill, created) });
        }
    }
    out
}

/// Whether a call was cut off: by an interruption or a crash in opencode 2, or in opencode 1 before the import.
fn is_orphan(tool: &Tool<'_>) -> bool {
    match &tool.status {
        Status::Error(error) => {
            error.interrupted
                || error.kind == *"tool.interrupted"
                || error.kind == *"aborted" && error.message.decode().starts_with("Tool execution interrupted")
        }
        _ => false,
    }
}
