//! The walk over the sessions of a store: each is read and judged by one thread.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::unopenable::{every_misfit, misfits, seen_misfits};
use super::{replay_sdk, sdk_of};
use crate::diagnosis::{Draft, Finding, Scope, draft, import, prompted, settled, unreadable};
use crate::error::Result;
use crate::history::{Head, ModelRef, Role, Session, SessionInfo, UnreadableRow};
use crate::replay::RuleSet;
use crate::sdk::{SdkChoice, SdkResolver};
use crate::store::{By, Facts, Heads, Loaded, Store, Twin};

/// What a walk is told.
pub(super) struct Scan<'a, F> {
    /// The rule sets that count.
    pub(super) counting: Vec<&'static RuleSet>,
    pub(super) scope: Scope,
    /// Sessions are named one by one.
    pub(super) named: bool,
    /// Every session is meant.
    pub(super) all: bool,
    /// The SDK package is asked for behind healthy sessions as well.
    pub(super) everything: bool,
    /// Every row is held against what opencode can read, not those alone that look odd.
    pub(super) deep: bool,
    /// What opencode 2's import does is asked for, of sessions that it has not taken.
    pub(super) import: bool,
    pub(super) imported: &'a HashSet<&'a str>,
    pub(super) packages: &'a SdkResolver,
    pub(super) infos: &'a [SessionInfo],
    /// By place of the session, whether it is meant.
    pub(super) chosen: &'a [bool],
    pub(super) facts: &'a Facts,
    pub(super) tell: &'a F,
}

/// What a walk found out.
pub(super) struct Scanned<T> {
    /// The chosen sessions in their order.
    pub(super) sessions: Vec<Verdict<T>>,
    pub(super) unreadable: Vec<UnreadableRow>,
    /// Models that refused a prefill, of every session.
    pub(super) refusing: Vec<ModelRef>,
}

/// A session's verdict but for who refuses.
pub(super) struct Verdict<T> {
    pub(super) draft: Draft,
    pub(super) sdk: Option<SdkChoice>,
    pub(super) told: Option<T>,
    /// What opencode cannot read of it.
    pub(super) unopenable: Vec<Finding>,
    /// What opencode 2's import does to it.
    pub(super) import: Vec<Finding>,
}

/// What was found out about one session.
struct Done<T> {
    verdict: Option<(Draft, Option<SdkChoice>, Option<T>)>,
    unreadable: Vec<UnreadableRow>,
    refusing: Vec<ModelRef>,
    messages: u64,
    parts: u64,
    misfiled: Vec<String>,
    unopenable: Vec<Finding>,
    /// What the import does to it.
    import: Vec<Finding>,
}

/// What one thread found out, by place of the session.
type Found<T> = Vec<(usize, Done<T>)>;

/// What the threads of a walk share.
#[derive(Default)]
struct Shared {
    /// How many sessions were begun.
    next: AtomicUsize,
    /// How many rows were read.
    rows: AtomicU64,
    /// A thread has met an error: what the others find counts for nothing.
    over: AtomicBool,
}

impl<T: Send, F: Fn(&Session, bool) -> Option<T> + Sync> Scan<'_, F> {
    /// Reads and judges.
    ///
    /// # Errors
    /// When SQLite cannot read the store.
    pub(super) fn run(
        &self,
        store: &Store<'_>,
        twins: &mut [Twin<'_>],
        progress: &dyn Fn(u64, u64),
    ) -> Result<Scanned<T>> {
        let shared = Shared::default();
        let all = self.facts.messages + if self.scope == Scope::All { self.facts.parts } else { 0 };
        let mut done: Vec<Option<Done<T>>> = std::iter::repeat_with(|| None).take(self.infos.len()).collect();
        let results: Vec<Result<Found<T>>> = thread::scope(|scope| {
            let shared = &shared;
            let others: Vec<_> =
                twins.iter_mut().map(|twin| scope.spawn(move || self.work(&twin.store(), shared, &|_| {}))).collect();
            let mine = self.work(store, shared, &|rows| progress(rows, all));
            let joined = others.into_iter().map(|other| match other.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            std::iter::once(mine).chain(joined).collect()
        });
        for result in results {
            for (at, found) in result? {
                done[at] = Some(found);
            }
        }
        let mut out = self.gather(store, &mut done)?;
        for found in done.into_iter().flatten() {
            out.unreadable.extend(found.unreadable);
            for model in found.refusing {
                if !out.refusing.contains(&model) {
                    out.refusing.push(model);
                }
            }
            let (unopenable, import) = (found.unopenable, found.import);
            let verdict = |(draft, sdk, told)| Verdict { draft, sdk, told, unopenable, import };
            out.sessions.extend(found.verdict.map(verdict));
        }
        Ok(out)
    }

    /// Takes session after session until none is left. The oldest come first, for that is how they lie in the file.
    fn work(&self, store: &Store<'_>, shared: &Shared, progress: &dyn Fn(u64)) -> Result<Found<T>> {
        let mut out = Vec::new();
        while !shared.over.load(Ordering::Relaxed) {
            let begun = shared.next.fetch_add(1, Ordering::Relaxed);
            let Some(at) = self.infos.len().checked_sub(begun + 1) else { break };
            match self.session(store, at) {
                Ok(done) => {
                    let rows = done.messages + done.parts;
                    progress(shared.rows.fetch_add(rows, Ordering::Relaxed) + rows);
                    out.push((at, done));
                }
                Err(error) => {
                    shared.over.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(out)
    }

    fn session(&self, store: &Store<'_>, at: usize) -> Result<Done<T>> {
        let info = &self.infos[at];
        let heads = store.heads(info)?;
        let mut done = Done {
            verdict: None,
            unreadable: Vec::new(),
            refusing: refusing(&heads.heads),
            messages: (heads.heads.len() + heads.unreadable.len()) as u64,
            parts: 0,
            misfiled: Vec::new(),
            unopenable: Vec::new(),
            import: Vec::new(),
        };
        if !self.chosen[at] {
            return Ok(done);
        }
        if self.import && !self.imported.contains(info.id.as_str()) {
            done.import = store.import_session(&info.id)?.as_ref().map(import::findings).unwrap_or_default();
        }
        if self.scope == Scope::Tail && self.is_settled(store, info, &heads)? {
            let model = prompted(&heads.heads);
            let sdk = model.filter(|_| self.everything).map(|model| self.choose(model, info));
            done.verdict = Some((Draft::plain(info, model, Scope::Tail), sdk, None));
            return Ok(done);
        }
        let mut odd = Vec::new();
        let loaded = if self.named {
            store.load(info)?
        } else {
            let by = if self.all { By::Session } else { By::Messages };
            let exact = self.exact(&heads.heads);
            let scanned = store.scan_parts(info, heads, by, |at| exact[at])?;
            (done.parts, done.misfiled, odd) = (scanned.parts, scanned.misfiled, scanned.odd);
            scanned.loaded
        };
        if self.scope == Scope::All {
            done.unopenable = match (self.deep, self.named) {
                (true, _) => every_misfit(store, &loaded.session)?,
                (false, true) => seen_misfits(store, &loaded.session)?,
                (false, false) => misfits(store, &loaded.session, &odd)?,
            };
        }
        self.judge(loaded, &mut done);
        Ok(done)
    }

    /// Whether every rule set stops at the session's last row.
    fn is_settled(&self, store: &Store<'_>, info: &SessionInfo, heads: &Heads) -> Result<bool> {
        let (Some(last), true, None) = (heads.heads.last(), heads.unreadable.is_empty(), &info.revert) else {
            return Ok(false);
        };
        Ok(settled(&heads.heads) && !store.holds_tool(last)?)
    }

    /// Of which messages it has to be known exactly who ran a call: those at which a turn, or the history before a prompt,
    /// ends. Up to 1.3 a call that the provider ran counts wherever it stands.
    fn exact(&self, heads: &[Head]) -> Vec<bool> {
        let everywhere = self.counting.iter().any(|set| !set.modern_replay);
        let ends = |at: usize| heads.get(at + 1).is_none_or(|next| matches!(next.role, Role::User(_)));
        let goes_on = |head: &Head| head.assistant().is_some_and(|a| a.finish.as_deref() == Some("tool-calls"));
        heads.iter().enumerate().map(|(at, head)| everywhere || ends(at) || !goes_on(head)).collect()
    }

    fn judge(&self, loaded: Loaded, done: &mut Done<T>) {
        let Loaded { session, unreadable: rows } = loaded;
        let sdk = sdk_of(&session, self.packages);
        let draft: Draft = if rows.is_empty() {
            draft(&session, &replay_sdk(sdk.as_ref()), &self.counting, self.scope)
        } else {
            unreadable(&session.info, &rows, Some(&session)).into()
        };
        let something = !draft.is_plain();
        let told = if something { (self.tell)(&session, rows.is_empty()) } else { None };
        let sdk = sdk.filter(|_| something || self.everything);
        done.unreadable = rows;
        done.verdict = Some((draft, sdk, told));
    }

    fn choose(&self, model: &ModelRef, info: &SessionInfo) -> SdkChoice {
        self.packages.choose(&model.provider, &model.model, std::path::Path::new(&info.directory))
    }

    /// Finds rows that no session has met, and reads those sessions again by their messages of which a part says that it is
    /// another's.
    fn gather(&self, store: &Store<'_>, done: &mut [Option<Done<T>>]) -> Result<Scanned<T>> {
        let mut out = Scanned { sessions: Vec::new(), unreadable: Vec::new(), refusing: Vec::new() };
        if !self.all {
            return Ok(out);
        }
        let (messages, parts) = done.iter().flatten().fold((0, 0), |(m, p), d| (m + d.messages, p + d.parts));
        if messages != self.facts.messages {
            out.unreadable.extend(store.orphaned_messages()?);
        }
        if self.scope == Scope::Tail {
            return Ok(out);
        }
        let mut again: Vec<String> = done.iter_mut().flatten().flat_map(|d| std::mem::take(&mut d.misfiled)).collect();
        if parts != self.facts.parts {
            again.extend(store.sessions_of_unclaimed_parts()?);
            out.unreadable.extend(store.orphaned_parts(None)?);
        }
        again.sort_unstable();
        again.dedup();
        for id in again {
            let Some(at) = self.infos.iter().position(|info| info.id == id) else { continue };
            let Some(found) = done[at].as_mut().filter(|_| self.chosen[at]) else { continue };
            let heads = store.heads(&self.infos[at])?;
            let exact = self.exact(&heads.heads);
            let mut scanned = store.scan_parts(&self.infos[at], heads, By::Messages, |at| exact[at])?;
            scanned.loaded.unreadable.extend(store.orphaned_parts(Some(&id))?);
            if !self.deep {
                found.unopenable = misfits(store, &scanned.loaded.session, &scanned.odd)?;
            }
            self.judge(scanned.loaded, found);
        }
        Ok(out)
    }
}

/// The models of which these rows hold a refused prefill.
fn refusing(heads: &[Head]) -> Vec<ModelRef> {
    let refused = |head: &&Head| head.assistant().and_then(|a| a.error.as_deref()).is_some_and(|e| e.prefill_400);
    let mut out: Vec<ModelRef> = Vec::new();
    for a in heads.iter().filter(refused).filter_map(|head| head.assistant()) {
        if !out.contains(&a.model) {
            out.push(ModelRef::clone(&a.model));
        }
    }
    out
}
