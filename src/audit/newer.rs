//! The walk over the sessions of opencode 2.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::diagnosis::{Diagnosis, v2};
use crate::error::Result;
use crate::history::UnreadableRow;
use crate::opencode2::generation::RELEASED;
use crate::opencode2::predict::{Session, Target};
use crate::opencode2::stored::StoredSession;
use crate::opencode2::wire::Api;
use crate::sdk::{SdkChoice, SdkResolver};
use crate::store::{Store, Twin};

/// What a walk is told.
pub(super) struct Walk<'a, F> {
    pub(super) packages: &'a SdkResolver,
    /// The sessions that are meant.
    pub(super) sessions: Vec<&'a StoredSession>,
    /// Is asked of each whose rows could be read.
    pub(super) tell: &'a F,
}

/// What was found out about one session.
pub(super) struct Done<T> {
    pub(super) diagnosis: Diagnosis,
    pub(super) sdk: Option<SdkChoice>,
    pub(super) told: Option<T>,
    pub(super) unreadable: Vec<UnreadableRow>,
}

/// What one thread found out, by place of the session.
type Found<T> = Vec<(usize, Done<T>)>;

/// The package behind a session's model, and what its requests are made for.
#[must_use]
pub fn target(session: &StoredSession, packages: &SdkResolver) -> (Option<SdkChoice>, Target) {
    let folder = Path::new(&session.info.directory);
    let sdk = session.model().map(|model| packages.choose(&model.provider, &model.model, folder));
    let api = sdk.as_ref().map_or(Api::Other, |sdk| Api::of(&sdk.package, sdk.facts.store));
    (sdk, Target { api, limits: None })
}

impl<T: Send, F: Fn(&StoredSession, &Session<'_>) -> Option<T> + Sync> Walk<'_, F> {
    /// Reads and judges, in the order of the sessions.
    ///
    /// # Errors
    /// When SQLite cannot read the store.
    pub(super) fn run(
        &self,
        store: &Store<'_>,
        twins: &mut [Twin<'_>],
        progress: &dyn Fn(u64),
    ) -> Result<Vec<Done<T>>> {
        let (next, rows) = (AtomicUsize::new(0), AtomicU64::new(0));
        let results: Vec<Result<Found<T>>> = thread::scope(|scope| {
            let (next, rows) = (&next, &rows);
            let others: Vec<_> = twins
                .iter_mut()
                .map(|twin| scope.spawn(move || self.work(&twin.store(), next, rows, &|_| {})))
                .collect();
            let mine = self.work(store, next, rows, progress);
            let joined = others.into_iter().map(|other| match other.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            std::iter::once(mine).chain(joined).collect()
        });
        let mut done = results.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect::<Vec<_>>();
        done.sort_unstable_by_key(|(at, _)| *at);
        Ok(done.into_iter().map(|(_, done)| done).collect())
    }

    fn work(
        &self,
        store: &Store<'_>,
        next: &AtomicUsize,
        rows: &AtomicU64,
        progress: &dyn Fn(u64),
    ) -> Result<Found<T>> {
        let mut out = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(session) = self.sessions.get(at) else { return Ok(out) };
            let (done, read) = self.session(store, session)?;
            progress(rows.fetch_add(read, Ordering::Relaxed) + read);
            out.push((at, done));
        }
    }

    fn session(&self, store: &Store<'_>, session: &StoredSession) -> Result<(Done<T>, u64)> {
        let own = store.generation().unwrap_or(&RELEASED);
        let mut rows = store.newer_rows(&session.info.id)?;
        let read = (rows.messages.len() + rows.unreadable.len()) as u64;
        let (sdk, target) = target(session, self.packages);
        if !rows.unreadable.is_empty() {
            let unreadable = std::mem::take(&mut rows.unreadable);
            let diagnosis = v2::unreadable(&session.info, &unreadable);
            return Ok((Done { diagnosis, sdk, told: None, unreadable }, read));
        }
        let judged = session.with(&rows, |rows| {
            let mut diagnosis = v2::diagnose(own, rows, &session.info, session.model(), target);
            if sdk.as_ref().is_some_and(SdkChoice::is_guess) {
                v2::doubt_package(own, &mut diagnosis);
            }
            (diagnosis, (self.tell)(session, rows))
        });
        Ok((Done { diagnosis: judged.0, sdk, told: judged.1, unreadable: Vec::new() }, read))
    }
}
