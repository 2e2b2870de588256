//! Whether a refusal may have been the service's: where it has taken the same kind of content from another session since, and
//! has not taken any between two refusals of this one.
//!
//! Asked only where a session is refused for its encrypted reasoning, so that other stores are not read for it.

use crate::diagnosis::{Draft, Question, is_encrypted_reasoning};
use crate::error::Result;
use crate::history::{Head, SessionInfo};
use crate::store::{By, Store};

/// The sessions of which it may have been the service. Sessions whose rows cannot be read say nothing.
///
/// # Errors
/// When SQLite cannot read the store.
pub(super) fn doubted<'d>(
    store: &Store<'_>,
    infos: &[SessionInfo],
    drafts: impl Iterator<Item = &'d Draft>,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (session, question) in drafts.filter_map(|draft| draft.question()) {
        let mut taken = Vec::new();
        for info in infos.iter().filter(|info| info.id != session) {
            taken.extend(taken_from(store, info, question)?);
        }
        let between = taken.iter().any(|at| (question.first..question.last).contains(at));
        if !between && taken.iter().any(|at| *at > question.last) {
            out.push(session.to_owned());
        }
    }
    Ok(out)
}

/// When the model has answered the session after the first refusal, with encrypted reasoning of its own in the history.
fn taken_from(store: &Store<'_>, info: &SessionInfo, question: &Question) -> Result<Vec<i64>> {
    let heads = store.heads(info, None)?;
    let answers = |head: &&Head| {
        head.assistant()
            .is_some_and(|a| *a.model == question.model && a.error.is_none() && a.finish.is_some() && !a.summary)
    };
    let since = |head: &Head| head.row.time_created > question.first;
    let of: Vec<&Head> = heads.heads.iter().filter(answers).collect();
    let Some(at) = of.iter().position(|head| since(head)).map(|at| at.max(1)).filter(|at| *at < of.len()) else {
        return Ok(Vec::new());
    };
    let times: Vec<i64> = of[at..].iter().map(|head| head.row.time_created).collect();
    let before: Vec<String> = of.iter().map(|head| head.id().to_owned()).collect();
    let scanned = store.scan_parts(info, heads, By::Messages, None, |_| false)?;
    let holds = |id: &String| {
        let message = scanned.loaded.session.message(id);
        message.is_some_and(|message| message.parts.iter().any(is_encrypted_reasoning))
    };
    let Some(first) = before.iter().position(holds) else { return Ok(Vec::new()) };
    // The first that holds any was itself asked for without.
    Ok(times.into_iter().skip((first + 1).saturating_sub(at)).collect())
}
