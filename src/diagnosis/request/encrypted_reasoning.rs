//! `bad-encrypted-reasoning`
//!
//! What the user sees: "reasoning `encrypted_content` was not issued to this caller", or "The encrypted content … could not be
//! verified", at every prompt from then on (opencode issues 48773, 48964, 49299, 43364, 31236).
//!
//! Why: opencode stores the reasoning that only its provider can read, and sends it with every request. After a change of
//! account, key, gateway or model behind the gateway, nobody can read it any more. Only the provider can tell, so nothing
//! but its refusal proves it.
//!
//! Rows before: `user` · `assistant (step-start, reasoning with openai.reasoningEncryptedContent and openai.itemId "rs_1", text, finish "stop")`
//! Rows after:  `user` · `assistant (step-start, reasoning, text, finish "stop")`
//! Refused: reasoning `encrypted_content` was not issued to this caller
//! Through: `openai`
//! Asked: `--include reasoning`
//!
//! Of a refusal that names a part only that part is mended, else every one.
//!
//! Source: the issues; what is sent was measured on 1.14.48 and 1.18.34 (docs/opencode.md §5). OpenRouter's encrypted
//! details and Copilot's opaque reasoning are the same under other names.

use super::{Asked, Broken, Place, RequestRule};
use crate::diagnosis::{Code, Evidence};
use crate::history::{Detail, Message, MetaKind, Named, Part, RefusalClass};

pub(super) const RULE: RequestRule =
    RequestRule { code: Code::BadEncryptedReasoning, classes: &[RefusalClass::EncryptedReasoning], broken };

fn broken(asked: &Asked<'_, '_>) -> Vec<Broken> {
    let Some((refused, refusal)) = asked.refusal.filter(|(_, r)| r.class == RefusalClass::EncryptedReasoning) else {
        return Vec::new();
    };
    let was_sent = |row: &Message| (row.row.time_created, row.id()) < (refused.row.time_created, refused.id());
    let mut out: Vec<Broken> = Vec::new();
    for at in asked.places().filter(|at| was_sent(at.row) && is_secret(at)) {
        let Some(part) = at.block.part.filter(|part| refusal.named.is_none_or(|named| is_named(part, named))) else {
            continue;
        };
        for part in goes_with(at.row, part) {
            if out.iter().any(|b| b.part_id.as_deref() == Some(part.id())) {
                continue;
            }
            let block = crate::replay::Block { part: Some(part), ..at.block.clone() };
            let detail = "encrypted reasoning that the provider has refused".to_owned();
            let found = super::broken(Code::BadEncryptedReasoning, Place { row: at.row, block: &block }, detail);
            out.push(Broken { attachment: None, evidence: Some(Evidence::Evidenced), ..found });
        }
    }
    out
}

/// Whether something goes out with the block that only the provider can read.
fn is_secret(at: &Place<'_, '_>) -> bool {
    let secret = |kind| matches!(kind, MetaKind::EncryptedContent | MetaKind::ReasoningOpaque);
    at.block.carries.iter().any(|carried| secret(carried.kind)) || at.block.detail().is_some_and(|d| d.encrypted)
}

/// Whether the part holds reasoning that only its provider can read.
pub(crate) fn is_encrypted_reasoning(part: &Part) -> bool {
    let holds = |kind| matches!(kind, MetaKind::EncryptedContent | MetaKind::ReasoningOpaque);
    part.metadata().iter().any(|meta| holds(meta.kind)) || encrypted_details(part).next().is_some()
}

/// OpenRouter's details of the part that only the provider can read.
fn encrypted_details(part: &Part) -> impl Iterator<Item = &Detail> {
    part.metadata().iter().flat_map(|meta| &meta.details).filter(|detail| detail.encrypted)
}

/// Whether the part holds what the refusal names.
pub(super) fn is_named(part: &Part, named: Named) -> bool {
    match named {
        Named::Item(item) => {
            let of = |kind, digest| kind == MetaKind::ItemId && digest == item;
            part.metadata().iter().any(|meta| of(meta.kind, meta.digest))
                || encrypted_details(part).any(|detail| detail.item == Some(item))
        }
        Named::Ends(ends) => {
            let holds = |kind| matches!(kind, MetaKind::EncryptedContent | MetaKind::ReasoningOpaque);
            part.metadata().iter().any(|meta| holds(meta.kind) && meta.ends == Some(ends))
                || encrypted_details(part).any(|detail| detail.ends == Some(ends))
        }
    }
}

/// The parts of a row that would send the part's reasoning in its place: those of one item, and, for OpenRouter and Copilot,
/// all that hold any, for these packages send the first that they find.
fn goes_with<'a>(row: &'a Message, part: &'a Part) -> impl Iterator<Item = &'a Part> {
    let items = |part: &'a Part| part.metadata().iter().filter(|meta| meta.kind == MetaKind::ItemId);
    let in_turn = takes_turns(part);
    row.parts.iter().filter(move |other| {
        other.id == part.id
            || in_turn && takes_turns(other)
            || other.is_reasoning() && items(part).any(|own| items(other).any(|item| item.digest == own.digest))
    })
}

fn takes_turns(part: &Part) -> bool {
    let opaque = part.metadata().iter().any(|meta| meta.kind == MetaKind::ReasoningOpaque);
    opaque || encrypted_details(part).next().is_some()
}

/// The thinking that OpenRouter's and Copilot's packages only send beside what is encrypted: of these rows, all of it.
pub(crate) fn goes_along(row: &Message) -> impl Iterator<Item = &Part> {
    let any = row.parts.iter().any(takes_turns);
    row.parts.iter().filter(move |part| any && part.is_reasoning())
}
