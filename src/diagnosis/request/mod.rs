//! Rules about a whole request: what a provider refuses wherever it stands in the history, so that a new prompt is
//! refused as well. One file per rule.
//!
//! Two things make a session dead: the request breaks a rule of the very service that it goes to, or the store holds
//! that service's refusal, nothing has worked since, and what the refusal is about would be sent again. Everything else
//! that a rule finds is only said.

mod bad_image;
mod blank_text;
mod call_ids;
mod empty_message;
mod encrypted_reasoning;
mod image_size;
mod item_ids;
mod missing_reasoning;
mod provider_calls;
mod reasoning_order;
mod risk;
mod signature;
mod thinking_last;
mod thought_signature;
mod too_many_images;
mod turn_order;
mod unsendable_file;
mod window;

pub(crate) use call_ids::sent as sent_id;
pub(crate) use encrypted_reasoning::{goes_along, is_encrypted_reasoning};
pub(super) use risk::{refused_or_cut_off, risky, unsendable};

use std::rc::Rc;

use super::code::{Applicability, Code};
use super::{Evidence, Finding};
use crate::history::{Assistant, Media, Message, ModelRef, Part, PartKind, Refusal, RefusalClass, Session};
use crate::replay::{Block, Request, RuleSet, Sdk, Turn, after_revert, newest, prompt, view};

/// Something in a request that a provider refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What it is.
    pub code: Code,
    /// The message row.
    pub message_id: String,
    /// The part row.
    pub part_id: Option<String>,
    /// Which of the part's attachments, from 0.
    pub attachment: Option<usize>,
    /// What is wrong, without any of the session's content.
    pub detail: String,
    /// How sure it is that the request is refused for it; `None` where it is only said.
    pub evidence: Option<Evidence>,
    /// Why it is only said.
    pub doubt: Option<&'static str>,
}

/// A rule about a request.
#[derive(Debug)]
pub struct RequestRule {
    /// What it finds.
    pub code: Code,
    /// The refusals that are about the same.
    pub classes: &'static [RefusalClass],
    /// What in the request breaks it.
    pub broken: fn(&Asked<'_, '_>) -> Vec<Broken>,
}

/// All rules.
const RULES: &[RequestRule] = &[
    blank_text::RULE,
    image_size::RULE,
    bad_image::RULE,
    too_many_images::RULE,
    call_ids::RULE,
    provider_calls::RULE,
    empty_message::RULE,
    thinking_last::RULE,
    unsendable_file::RULE,
    signature::RULE,
    encrypted_reasoning::RULE,
    reasoning_order::RULE,
    item_ids::RULE,
    missing_reasoning::RULE,
    thought_signature::RULE,
    turn_order::RULE,
    window::RULE,
];

/// A request with what is known of who gets it.
#[derive(Debug)]
pub struct Asked<'a, 'w> {
    /// The request.
    pub request: &'w Request<'a>,
    /// The package that sends it.
    pub sdk: &'w Sdk,
    /// The model.
    pub model: &'w ModelRef,
    /// The newest refusal that nothing has got past, with its row.
    pub refusal: Option<(&'a Message, Refusal)>,
}

/// Doubts, as they are shown.
const PROXY: &str = "what stands between opencode and the model is not known to pass it on as it is";
const CAPABLE: &str = "it is not known whether opencode sends this model the images of prompts";

impl<'a, 'w> Asked<'a, 'w> {
    /// Whether the model is a Claude: only of these are the rules known.
    fn claude(&self) -> bool {
        serves_claude(self.sdk, self.model)
    }

    /// Something that Claude's own API is known to refuse: sure where opencode speaks to that.
    fn rule(&self, code: Code, at: Place<'a, '_>, detail: String) -> Broken {
        let of_prompt = at.block.media().filter(|_| at.block.attachment().is_none());
        let doubt = match () {
            () if !self.sdk.is_anthropic() => Some(PROXY),
            () if of_prompt.is_some_and(|media| self.sdk.reads(&media.mime) != Some(true)) => Some(CAPABLE),
            () => None,
        };
        Broken { evidence: doubt.is_none().then_some(Evidence::Predicted), doubt, ..broken(code, at, detail) }
    }

    /// Every block that is sent.
    fn places(&self) -> impl Iterator<Item = Place<'a, 'w>> {
        places(&self.request.turns)
    }

    /// Every file that is sent.
    fn files(&self) -> impl Iterator<Item = (Place<'a, 'w>, &'a Media)> {
        self.places().filter_map(|at| Some((at, at.block.media()?)))
    }

    /// Whether the newest refusal is about this.
    fn refused(&self, class: RefusalClass) -> Option<Refusal> {
        self.refusal.map(|(_, refusal)| refusal).filter(|refusal| refusal.class == class)
    }
}

/// A block with the row that it comes from.
#[derive(Debug, Clone, Copy)]
struct Place<'a, 'r> {
    row: &'a Message,
    block: &'r Block<'a>,
}

/// The blocks that turns send.
fn places<'a, 'r>(turns: &'r [Turn<'a>]) -> impl Iterator<Item = Place<'a, 'r>> {
    turns.iter().flat_map(|turn| turn.blocks.iter().map(|block| Place { row: turn.row, block }))
}

/// The blocks that are left out of turns.
fn left_out<'a, 'r>(turns: &'r [Turn<'a>]) -> impl Iterator<Item = Place<'a, 'r>> {
    turns.iter().flat_map(|turn| turn.left_out.iter().map(|block| Place { row: turn.row, block }))
}

fn broken(code: Code, at: Place<'_, '_>, detail: String) -> Broken {
    Broken {
        code,
        message_id: at.row.id().to_owned(),
        part_id: at.block.part_id().map(str::to_owned),
        attachment: at.block.attachment(),
        detail,
        evidence: None,
        doubt: None,
    }
}

/// Whether a model's id is that of a Claude, in any of the spellings that providers use.
#[must_use]
pub fn is_claude(model: &str) -> bool {
    model.to_lowercase().contains("claude")
}

/// Whether it is a Claude that answers for the model, by its id at the service.
pub(in crate::diagnosis) fn serves_claude(sdk: &Sdk, model: &ModelRef) -> bool {
    is_claude(sdk.api_id.as_deref().unwrap_or(&model.model))
}

/// What in the next prompt's request is refused, under one rule set; a pending revert carried out.
#[must_use]
pub fn broken_under(session: &Session, set: &RuleSet, sdk: &Sdk) -> Vec<Broken> {
    let cut = after_revert(session, set);
    let seen = view(&cut.messages, set);
    let Some(model) = newest(&seen, set).user.and_then(|u| u.user()).and_then(|u| u.model.as_ref()) else {
        return Vec::new();
    };
    let request = prompt(&seen, set, sdk, Some(model));
    let refusal = standing(&seen, model);
    let asked = Asked { request: &request, sdk, model, refusal };
    let mut out: Vec<Broken> = RULES.iter().flat_map(|rule| (rule.broken)(&asked)).collect();
    if let Some((row, refusal)) = refusal {
        // What the provider itself has pointed at, where that would be sent again.
        let named = named(&cut.messages, (row, refusal), set, &asked);
        let still = |b: &Broken| {
            request.blocks().any(|block| {
                block.part.is_some_and(|p| Some(p.id()) == b.part_id.as_deref())
                    && (b.attachment.is_none() || block.attachment() == b.attachment)
            })
        };
        let mut any = false;
        for b in named.into_iter().filter(still) {
            // Rows tell all there is to know about ids: one that is in order now is not what was refused.
            if b.code == Code::CallId && !out.iter().any(|o| o.part_id == b.part_id) {
                continue;
            }
            any = true;
            match out.iter_mut().find(|o| (&o.part_id, o.attachment) == (&b.part_id, b.attachment)) {
                Some(known) => (known.evidence, known.doubt) = (b.evidence, None),
                None => out.push(b),
            }
        }
        // A refusal without a place is about all that its rule finds.
        if !any && refusal.at.is_none_or(|at| at.block.is_none()) {
            let codes = || RULES.iter().filter(|r| r.classes.contains(&refusal.class)).map(|r| r.code);
            for b in out.iter_mut().filter(|b| codes().any(|code| code == b.code)) {
                if b.code.applicability() == Applicability::OptIn {
                    (b.evidence, b.doubt) = (Some(Evidence::Evidenced), None);
                }
            }
        }
    }
    out
}

/// The newest refusal of the prompt's model that no later answer has got past.
fn standing<'a>(seen: &[&'a Message], model: &ModelRef) -> Option<(&'a Message, Refusal)> {
    for message in seen.iter().rev() {
        let Some(a) = message.assistant().filter(|a| *a.model == *model) else { continue };
        match a.error.as_deref().and_then(|error| error.refusal) {
            Some(refusal) if refusal.class != RefusalClass::Other => return Some((message, refusal)),
            Some(_) => {}
            None if accepted(message, a) => return None,
            None => {}
        }
    }
    None
}

/// Whether the request that the row answers was taken: the answer is finished, or something of it had come before it was
/// cut off. A compaction's request is not the one that a prompt sends.
fn accepted(message: &Message, a: &Assistant) -> bool {
    let said = |part: &Part| match &part.kind {
        PartKind::Text { text, .. } => !text.empty,
        PartKind::Reasoning { .. } | PartKind::Tool(_) => true,
        _ => false,
    };
    !a.summary && (a.error.is_none() && a.finish.is_some() || message.parts.iter().any(said))
}

/// Since when and until when the prompt's model has refused the session's encrypted reasoning, in ms since the epoch, where
/// nothing has got past that.
pub(super) fn refused_reasoning(session: &Session, model: &ModelRef) -> Option<(i64, i64)> {
    let mut out: Option<(i64, i64)> = None;
    for message in session.messages.iter().rev() {
        let Some(a) = message.assistant().filter(|a| *a.model == *model) else { continue };
        match a.error.as_deref().and_then(|error| error.refusal) {
            Some(refusal) if refusal.class == RefusalClass::EncryptedReasoning => {
                let at = message.row.time_created;
                out = Some((at, out.map_or(at, |(_, last)| last)));
            }
            Some(_) => {}
            None if accepted(message, a) => break,
            None => {}
        }
    }
    out
}

/// What the refusal pointed at in the request that was refused: the history before its row, replayed.
fn named(
    messages: &[Rc<Message>],
    (row, refusal): (&Message, Refusal),
    set: &RuleSet,
    asked: &Asked<'_, '_>,
) -> Vec<Broken> {
    let Some(rule) = RULES.iter().find(|r| r.classes.contains(&refusal.class)) else { return Vec::new() };
    let Some(at) = messages.iter().position(|m| m.row.id == row.row.id) else { return Vec::new() };
    let Some(pointer) = refusal.at else { return Vec::new() };
    let seen = view(&messages[..at], set);
    let request = prompt(&seen, set, asked.sdk, Some(asked.model));
    let Some((turn, block)) = request.at(pointer) else { return Vec::new() };
    let fits = match rule.code {
        Code::ImageSize | Code::BadImage | Code::UnsendableFile => block.media().is_some(),
        Code::BadSignature => block.kind == crate::replay::BlockKind::Thinking,
        Code::CallId => block.call().is_some(),
        _ => false,
    };
    if !fits {
        return Vec::new();
    }
    let detail = "the provider has refused it".to_owned();
    vec![Broken { evidence: Some(Evidence::Evidenced), ..broken(rule.code, Place { row: turn.row, block }, detail) }]
}

/// What in the next prompt's request is refused under the rule sets that count, the newest first that finds anything
/// sure.
#[must_use]
pub fn broken_in(session: &Session, sdk: &Sdk, counting: &[&'static RuleSet]) -> Vec<Broken> {
    let mut first = None;
    for set in counting.iter().rev() {
        let found = broken_under(session, set, sdk);
        if found.iter().any(|b| b.evidence.is_some()) {
            return found;
        }
        first.get_or_insert(found);
    }
    first.unwrap_or_default()
}

impl Broken {
    /// As a finding. What is in doubt can only be said.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let detail = match self.doubt {
            Some(doubt) => format!("{}; {doubt}", self.detail),
            None => self.detail.clone(),
        };
        let applicability = if self.evidence.is_some() { self.code.applicability() } else { Applicability::ReportOnly };
        Finding {
            code: self.code,
            applicability,
            message_id: self.message_id.clone(),
            part_id: self.part_id.clone(),
            detail,
            misfit: None,
        }
    }
}

/// A size for people: "5.9 MB".
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mb = bytes as f64 / 1e6;
    if bytes < 100_000 { format!("{bytes} bytes") } else { format!("{mb:.1} MB") }
}
