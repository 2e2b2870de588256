//! What happened in sessions of opencode 2.

use super::{Cause, Events, Orphan, Pair, millis};
use crate::history::prefill_wrapper;
use crate::opencode2::findings::{self, Code, EventKind, Prefill};
use crate::opencode2::generation::RELEASED;
use crate::opencode2::predict::Session;
use crate::opencode2::stored::StoredSession;
use crate::opencode2::wire::Api;

/// The events of one session. A call has no row of its own: its id stands for the part.
pub(super) fn events(stored: &StoredSession, session: &Session<'_>) -> Events {
    let info = &stored.info;
    let mut out = Events::default();
    let step_limits: Vec<String> = findings::all(&RELEASED, session, Api::Other)
        .into_iter()
        .filter(|f| f.code == Code::PrefillRefusal && f.prefill == Some(Prefill::StepLimit))
        .map(|f| f.row.to_owned())
        .collect();
    for event in findings::events(&RELEASED, session.messages) {
        let model = format!("{}/{}", event.model.provider.decode(), event.model.id.decode());
        let Some(time_ms) = millis(event.ms) else { continue };
        let (session_id, message_id, version) = (info.id.clone(), event.row.to_owned(), info.version.clone());
        match (event.kind, event.call) {
            (EventKind::Orphan, call) => {
                let (tool, part_id) = call.map(|(tool, id)| (tool.decode(), id.decode())).unwrap_or_default();
                let (tool, part_id) = (tool.into_owned(), part_id.into_owned());
                out.orphans.push(Orphan { session_id, message_id, part_id, tool, model, version, time_ms });
            }
            (EventKind::Prefill, _) => {
                let orphan = out.orphans.last();
                // What was refused before the import was another program's request.
                let own = !info.version.starts_with("1.");
                let cause =
                    if own && step_limits.contains(&message_id) { Cause::StepLimit } else { Cause::Unexplained };
                let text = event.text.map(|text| text.decode().to_lowercase()).unwrap_or_default();
                out.pairs.push(Pair {
                    session_id,
                    part_id: orphan.map(|o| o.part_id.clone()),
                    message_id,
                    orphan_time_ms: orphan.map(|o| o.time_ms),
                    error_time_ms: time_ms,
                    delta_ms: orphan.map(|o| time_ms.saturating_sub(o.time_ms)),
                    tool: orphan.map(|o| o.tool.clone()),
                    model,
                    version,
                    wrapper: prefill_wrapper(&text),
                    cause,
                    root_cause: cause,
                    still_stuck: false,
                });
            }
        }
    }
    out
}
