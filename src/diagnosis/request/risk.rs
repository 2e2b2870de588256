//! Whether a request of a history is worth a look: nearly every history holds nothing that a provider could refuse.

use crate::diagnosis::limits;
use crate::history::{Media, Message, PartKind, Session, ToolState, ids};

/// Whether the history holds what not every package can send.
pub(in crate::diagnosis) fn unsendable(session: &Session) -> bool {
    session.messages.iter().any(|m| m.may_not_be_sendable())
}

/// Whether an answer, or a block of one, ends with thinking: nothing may be left of it, or thinking come last.
fn ends_with_thinking(message: &Message) -> bool {
    let mut thinks = false;
    for part in &message.parts {
        match &part.kind {
            PartKind::StepStart if thinks => return true,
            PartKind::Reasoning { .. } => thinks = true,
            PartKind::Text { text, .. } => thinks &= text.empty,
            PartKind::Tool(_) | PartKind::File(_) => thinks = false,
            _ => {}
        }
    }
    thinks
}

/// Whether something in the history may be refused, whatever its rows say of refusals.
pub(in crate::diagnosis) fn risky(session: &Session) -> bool {
    if session.messages.iter().any(|m| ends_with_thinking(m)) {
        return true;
    }
    let mut images = Images::default();
    let mut calls = Vec::new();
    for part in session.messages.iter().flat_map(|m| &m.parts) {
        match &part.kind {
            PartKind::Text { text, .. } if text.blank => return true,
            PartKind::File(media) if images.odd(media) => return true,
            PartKind::Tool(call) => {
                if call.provider_executed || call.call_id.is_empty() {
                    return true;
                }
                calls.push(hash(&call.call_id));
                if let ToolState::Completed { compacted: false, attachments, .. } = &call.state
                    && attachments.iter().any(|media| images.odd(media))
                {
                    return true;
                }
            }
            _ => {}
        }
    }
    calls.sort_unstable();
    images.too_many() || calls.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether a request was refused, or an answer was cut off: it may be sent without content.
pub(in crate::diagnosis) fn refused_or_cut_off(session: &Session) -> bool {
    let odd = |m: &Message| {
        m.assistant().is_some_and(|a| match a.error.as_deref() {
            Some(error) => error.refusal.is_some(),
            None => a.finish.is_none(),
        })
    };
    session.messages.iter().any(|m| odd(m))
}

#[derive(Default)]
struct Images {
    many: usize,
    /// One of them is larger than requests with many images may hold.
    large: bool,
}

impl Images {
    /// Takes in a file. Returns whether it may be refused by itself.
    fn odd(&mut self, media: &Media) -> bool {
        if media.is_media() {
            self.many += usize::from(media.is_image());
            self.large |= media.longest().is_some_and(|side| side > limits::SIDE_AMONG_MANY);
        }
        limits::alone(media).is_some()
    }

    fn too_many(&self) -> bool {
        (self.large && self.many > limits::MANY) || self.many > limits::IMAGES
    }
}

/// FNV-1a of a call's id as it is sent. A collision only costs a look at the request.
fn hash(id: &str) -> u32 {
    ids::sent(id).fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
