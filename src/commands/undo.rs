//! `unstick undo`

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Error;
use opencode_unstick::diagnosis::LeftReason;
use opencode_unstick::error::ErrorCode;
use opencode_unstick::history::SessionInfo;
use opencode_unstick::repair::journal::{Entry, Header, Journal, Kind, VERSION};
use opencode_unstick::repair::log::Log;
use opencode_unstick::repair::undo::{Now, Stand, Standing, plan_undo};
use opencode_unstick::repair::{Left, Plan, RowEdit};
use opencode_unstick::report::{self, JournalLine, JournalState, JournalsDoc, UndoDoc};
use opencode_unstick::store::journal::{Found, JournalWriter, journals};
use opencode_unstick::store::locate::LocateError;
use opencode_unstick::store::{Exclusive, SessionEntry, Store, StoreError, with_snapshot};

use super::commit::with_now;
use super::{CallError, Context, Exit, Target};
use crate::cli::Undo;

/// A plan to take a repair back.
#[derive(Debug, Default, PartialEq)]
struct Planned {
    plan: Plan,
    left: Vec<Left>,
    titles: Vec<(String, String)>,
}

pub(crate) fn run(context: &Context<'_>, args: &Undo) -> Result<Exit, Error> {
    let folder = context.journal_folder(args.journal.as_deref())?;
    let found = journals(&folder, |(), _, _| {})?;
    let target = match context.target() {
        // What is on record can be told without the store: it may have been moved, or be of another home.
        Err(error) if args.list && error.downcast_ref::<LocateError>().is_some() => None,
        target => Some(target?),
    };
    let lines = match &target {
        Some(target) => with_snapshot(&target.path, |store| list(store, &found))?,
        None => found.iter().map(without_store).collect(),
    };
    let Some(target) = target.filter(|_| !args.list) else {
        if context.global.json {
            context.out.json(&JournalsDoc::new(lines))?;
        } else {
            context.out.print(&report::journals(&context.out, &lines, &folder, context.now))?;
        }
        return Ok(Exit::Fine);
    };
    let line = pick(&lines, args.id.as_deref())?;
    let (kept, journal) = found
        .iter()
        .filter_map(|f| f.journal.as_ref().ok().map(|journal| (f, journal)))
        .find(|(_, journal)| journal.header.id == line.id)
        .ok_or_else(|| CallError::new(ErrorCode::NoSuchJournal, "the journal is gone"))?;
    let mut edits: BTreeMap<String, Vec<RowEdit>> = BTreeMap::new();
    kept.rows(|entry| edits.entry(entry.session).or_default().push(entry.edit))?;
    let mut shown = with_snapshot(&target.path, |store| plan(context, store, journal, &edits, &found, None))?;
    let mut doc = UndoDoc::new(args.dry_run, &shown.plan, shown.left.clone());
    if !context.global.json {
        context.out.print(&report::undo_plan(
            &context.out,
            line,
            &shown.plan,
            &shown.left,
            &shown.titles,
            context.now,
        ))?;
    }
    let nothing_left = shown.left.is_empty();
    if !context.global.json {
        context.out.print(&end(context, args, &shown))?;
    }
    if shown.plan.sessions.is_empty() || args.dry_run {
        if context.global.json {
            context.out.json(&doc)?;
        }
        return Ok(if nothing_left { Exit::Fine } else { Exit::Findings });
    }
    let mut declined = false;
    if !args.yes {
        let planned = |id: &String| shown.plan.sessions.iter().any(|s| s.id == *id);
        let choices: Vec<(String, String)> = shown.titles.iter().filter(|(id, _)| planned(id)).cloned().collect();
        let chosen = super::ask::choose(context, "Take back", &choices)?;
        declined = chosen.len() < shown.plan.sessions.len();
        shown.plan.sessions.retain(|s| chosen.contains(&s.id));
        if shown.plan.sessions.is_empty() {
            context.out.note("Nothing was changed.");
            return Ok(Exit::Findings);
        }
        doc = UndoDoc::new(false, &shown.plan, shown.left.clone());
    }
    let exclusive = Exclusive::open(&target.path, args.wait)?;
    let again = plan(context, &exclusive.store(), journal, &edits, &found, Some(&shown.plan))?;
    if again.plan != shown.plan {
        let detail = "the store has changed since the plan was shown".to_owned();
        return Err(StoreError::RowChanged { table: "store".to_owned(), id: line.id.clone(), detail }.into());
    }
    let header = Header {
        version: VERSION,
        kind: Kind::Undo,
        id: super::journal_id(context.now, &shown.plan),
        undoes: Some(journal.header.id.clone()),
        store_id: journal.header.store_id.clone(),
        store_path: target.path.display().to_string(),
        time_ms: context.now,
        sessions: shown.plan.sessions.iter().map(|s| s.id.clone()).collect(),
    };
    let mut writer = JournalWriter::create(&folder, &header)?;
    let written = exclusive
        .execute(&shown.plan, &mut |session, edit| writer.row(Entry { session: session.to_owned(), edit }))
        .and_then(|back| exclusive.rehearse(&back))
        .and_then(|()| writer.seal());
    super::commit::commit(context, &target.path, exclusive, writer, written)?;
    doc.applied = true;
    doc.undo_id = Some(header.id);
    let said = if context.global.json {
        context.out.json(&doc)
    } else {
        context.out.print(&report::undone(&context.out, &shown.plan, shown.left.len(), journal.header.kind))
    };
    super::commit::unsaid(context, said);
    Ok(if nothing_left && !declined { Exit::Fine } else { Exit::Findings })
}

/// What is said after the plan where nothing more will be done.
fn end(context: &Context<'_>, args: &Undo, shown: &Planned) -> String {
    let (n, left) = (shown.plan.sessions.len(), shown.left.len());
    let mut end = Vec::new();
    if args.dry_run {
        let sessions = if n == 1 { "1 session".to_owned() } else { format!("{n} sessions") };
        end.push(format!("Dry run: nothing was changed. Without it, {sessions} would be as before."));
    }
    if left > 0 && (n == 0 || args.dry_run) {
        end.push(report::remain(left));
    }
    if end.is_empty() {
        return String::new();
    }
    let gap = if context.out.quiet { "" } else { "\n" };
    let end = end.join(" ");
    format!("{gap}{}\n", if context.out.quiet { end } else { context.out.wrap(&end, "") })
}

/// A journal where there is no store to compare it with.
fn without_store(found: &Found) -> JournalLine {
    match &found.journal {
        Err(why) => JournalLine::broken(&found.path, why, found.sealed),
        Ok(journal) => JournalLine::new(&journal.header, JournalState::Unknown),
    }
}

/// How the store stands to each session of a journal.
type Stands = BTreeMap<String, Stand>;

fn stands(found: &Found, now: &dyn Now) -> Result<Stands, StoreError> {
    let mut stands = Stands::new();
    found.rows(|entry| stands.entry(entry.session).or_default().add(&entry.edit, now))?;
    Ok(stands)
}

/// How the store stands to all of these sessions together.
fn together<'a>(stands: &Stands, of: impl Iterator<Item = &'a String>) -> Standing {
    of.filter_map(|id| stands.get(id)).fold(Stand::default(), |all, one| all.and(*one)).standing()
}

/// Sessions of the journal that are taken back. The rows have the last word: a copy of the store may have been
/// taken back and this one not, an undo may have been taken back itself, and the note of a commit may be missing.
fn undone(found: &[Found], journal: &Journal, stands: &Stands) -> BTreeSet<String> {
    let undos: Vec<&Journal> = found
        .iter()
        .filter_map(|f| f.journal.as_ref().ok())
        .filter(|j| j.whole && j.header.undoes.as_deref() == Some(journal.header.id.as_str()))
        .collect();
    let gone = |session: &String| match together(stands, std::iter::once(session)) {
        Standing::Done => false,
        Standing::NotDone => journal.committed,
        Standing::Changed => undos.iter().any(|undo| undo.committed && undo.header.sessions.contains(session)),
    };
    journal.header.sessions.iter().filter(|s| gone(s)).cloned().collect()
}

/// How each journal of the folder stands to the store.
fn list(store: &Store<'_>, found: &[Found]) -> Result<Vec<JournalLine>, StoreError> {
    let id = store.identity()?;
    let line = |f: &Found, now: &dyn Now| {
        let journal = match &f.journal {
            Err(why) => return Ok(JournalLine::broken(&f.path, why, f.sealed)),
            Ok(j) if j.header.store_id != id => return Ok(JournalLine::new(&j.header, JournalState::OtherStore)),
            Ok(journal) => journal,
        };
        let stands = stands(f, now)?;
        // Only whole journals get their final name: what breaks off under it was damaged later.
        if f.sealed && !journal.whole && !never_happened(journal, &stands) {
            return Ok(JournalLine::broken(&f.path, "it breaks off before its end", true));
        }
        Ok(JournalLine::new(&journal.header, state(journal, &undone(found, journal, &stands), &stands)))
    };
    with_now(store, |now| found.iter().map(|f| line(f, now)).collect())
}

/// Whether the rows of a journal that breaks off show that it was never committed.
fn never_happened(journal: &Journal, stands: &Stands) -> bool {
    journal.rows > 0 && together(stands, stands.keys()) == Standing::NotDone
}

fn state(journal: &Journal, undone: &BTreeSet<String>, stands: &Stands) -> JournalState {
    if !journal.whole {
        return JournalState::NeverHappened;
    }
    if !journal.header.sessions.is_empty() && journal.header.sessions.iter().all(|s| undone.contains(s)) {
        return JournalState::TakenBack;
    }
    match together(stands, stands.keys().filter(|s| !undone.contains(*s))) {
        Standing::Done => JournalState::Done,
        // The commit is noted after it; where it was not, the rows tell.
        Standing::NotDone if !journal.committed => JournalState::NeverHappened,
        _ if journal.committed => JournalState::ChangedSince,
        _ => JournalState::Unclear,
    }
}

/// The journal that is meant: by id or a unique prefix, or the newest repair that can be taken back.
fn pick<'a>(lines: &'a [JournalLine], wanted: Option<&str>) -> Result<&'a JournalLine, CallError> {
    let Some(wanted) = wanted else {
        return lines
            .iter()
            .rev()
            .find(|l| l.kind == Some(Kind::Repair) && l.state.open())
            .ok_or_else(|| CallError::new(ErrorCode::NothingToUndo, "there is no repair of this store to take back"));
    };
    let found: Vec<&JournalLine> = lines.iter().filter(|l| l.id == wanted).collect();
    let found = if found.is_empty() && !wanted.is_empty() {
        lines.iter().filter(|l| l.id.starts_with(wanted)).collect()
    } else {
        found
    };
    let line = match found[..] {
        [line] => line,
        [] => return Err(CallError::new(ErrorCode::NoSuchJournal, format!("no journal is called `{wanted}`"))),
        _ => return Err(CallError::new(ErrorCode::SeveralJournals, format!("`{wanted}` is {} journals", found.len()))),
    };
    if line.state.open() {
        Ok(line)
    } else {
        Err(CallError::new(ErrorCode::NothingToUndo, format!("{} cannot be taken back: {}", line.id, line.state)))
    }
}

fn plan(
    context: &Context<'_>,
    store: &Store<'_>,
    journal: &Journal,
    edits: &BTreeMap<String, Vec<RowEdit>>,
    found: &[Found],
    only: Option<&Plan>,
) -> Result<Planned, StoreError> {
    let infos: Vec<SessionInfo> = store
        .sessions()?
        .into_iter()
        .filter_map(|e| match e {
            SessionEntry::Readable(info) => Some(info),
            SessionEntry::Unreadable(_) => None,
        })
        .collect();
    with_now(store, |now| {
        let mut out = Planned::default();
        let mut stands = Stands::new();
        for (id, edits) in edits {
            let stand = stands.entry(id.clone()).or_default();
            edits.iter().for_each(|edit| stand.add(edit, now));
        }
        let done = undone(found, journal, &stands);
        for id in journal.header.sessions.iter().filter(|id| !done.contains(*id)) {
            if only.is_some_and(|plan| !plan.sessions.iter().any(|s| s.id == *id)) {
                continue;
            }
            let edits = edits.get(id).map_or(&[][..], Vec::as_slice);
            let Some(info) = infos.iter().find(|i| i.id == *id) else {
                let detail = "the session is gone, or its row cannot be read".to_owned();
                out.left.push(Left { id: id.clone(), reason: LeftReason::RowChanged, detail });
                continue;
            };
            out.titles.push((id.clone(), info.title.clone()));
            let loaded = store.load(info)?;
            let log = if loaded.unreadable.is_empty() { store.log(&loaded.session)? } else { Log::None };
            let planned = if loaded.unreadable.is_empty() {
                plan_undo(&loaded.session, edits, now, &log, context.now)
            } else {
                let reason = LeftReason::Unreadable;
                Err(Left { id: id.clone(), reason, detail: reason.description().to_owned() })
            };
            match planned {
                Ok(plan) => out.plan.sessions.push(plan),
                Err(left) => out.left.push(left),
            }
        }
        Ok(out)
    })
}

impl Context<'_> {
    /// The one store that the call is about.
    fn target(&self) -> Result<Target, Error> {
        let mut targets = self.targets()?;
        if targets.len() == 1
            && let Some(target) = targets.pop()
        {
            return Ok(target);
        }
        Err(CallError::new(ErrorCode::SeveralStores, "undo is about one store")
            .then("name it with `unstick undo --db PATH`")
            .into())
    }
}
