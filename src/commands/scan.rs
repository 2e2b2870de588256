//! `unstick scan`: several stores give a report each, and a line each at the end.

use std::collections::BTreeMap;

use opencode_unstick::audit::{Audit, Judged, Options, Selection, Want, audit};
use opencode_unstick::diagnosis::{Code, Format, Status};
use opencode_unstick::environment::folders::is_gone;
use opencode_unstick::error::Result;
use opencode_unstick::report::{self, Listed, ScanDoc, ScanLine, ScansDoc, SessionDoc, Shown, StoreDoc, Summary};

use super::{Context, Exit, Target};
use crate::cli::Scan;

pub(crate) fn run(context: &Context<'_>, args: &Scan) -> Result<Exit> {
    let targets = context.targets_or_exports(&args.selection.sessions)?;
    let mut selection = context.selection(&args.selection, args.since.as_deref())?;
    if targets.iter().any(|target| target.export.is_some()) {
        selection.sessions.clear();
    }
    let mut exit = Exit::Fine;
    let (mut docs, mut lines) = (Vec::new(), Vec::new());
    let several = targets.len() > 1;
    for target in &targets {
        let audit = context.audited(&selection, want(args), |options| {
            let options = Options { import: target.export.is_none(), deep: args.deep, ..*options };
            context.read(target, |store| audit(store, &options))
        })?;
        let store = StoreDoc::new(&audit.facts, &target.path, &audit.bound);
        let summary =
            Summary::of(audit.sessions.iter().map(|j| &j.diagnosis), audit.unreadable_rows.len() as u64, audit.tails);
        if needs_action(&summary) {
            exit = Exit::Findings;
        }
        let shown: Vec<&Judged> = audit.sessions.iter().filter(|j| wanted(args, j)).collect();
        let line = |summary| ScanLine { path: target.path.display().to_string(), summary };
        if args.json_lines {
            for judged in shown {
                context.out.json_line(&SessionDoc::new(&judged.diagnosis, judged.sdk.as_ref()))?;
            }
        } else if context.global.json {
            let sessions = shown.iter().map(|j| SessionDoc::new(&j.diagnosis, j.sdk.as_ref())).collect();
            let mut doc = ScanDoc::new(store, summary, audit.unreadable_rows.clone(), sessions);
            doc.import.clone_from(&audit.import);
            docs.push(doc);
        } else if several && context.global.quiet {
            lines.push(line(summary));
        } else if audit.sessions.is_empty() && !selection.is_all() {
            let all = store.sessions + store.sessions_v2;
            let none = format!("None of the {all} sessions matches; nothing was judged.\n");
            context.out.print(&none)?;
            lines.push(line(summary));
        } else {
            context.out.print(&human((context, args), target, &audit, &summary, &shown))?;
            lines.push(line(summary));
        }
        if several && !args.json_lines && !context.global.json && !context.global.quiet {
            context.out.print("\n")?;
        }
    }
    match docs.as_slice() {
        [] => {}
        [doc] if targets.len() == 1 => context.out.json(doc)?,
        _ => context.out.json(&ScansDoc::new(docs))?,
    }
    if several && !lines.is_empty() {
        context.out.print(&report::scans(&context.out, &lines))?;
    }
    context.warn();
    Ok(exit)
}

fn want(args: &Scan) -> Want {
    match args {
        Scan { stuck: true, .. } => Want::Stuck,
        Scan { all: true, .. } => Want::Everything,
        Scan { status, .. } if status.contains(&Status::Healthy) => Want::Everything,
        _ => Want::Findings,
    }
}

/// `unstick` alone: how each store stands, in three lines. One line, or a document, is what a scan has as well.
pub(crate) fn check(context: &Context<'_>) -> Result<Exit> {
    if context.global.json || context.global.quiet {
        return run(context, &Scan::default());
    }
    let selection = Selection::default();
    let mut exit = Exit::Fine;
    for target in &context.targets()? {
        let audit = context.audited(&selection, Want::Findings, |options| {
            let options = Options { import: true, ..*options };
            context.read(target, |store| audit(store, &options))
        })?;
        let store = StoreDoc::new(&audit.facts, &target.path, &audit.bound);
        let summary =
            Summary::of(audit.sessions.iter().map(|j| &j.diagnosis), audit.unreadable_rows.len() as u64, audit.tails);
        if needs_action(&summary) {
            exit = Exit::Findings;
        }
        context.out.print(&report::check(&context.out, &store, &summary))?;
    }
    context.warn();
    Ok(exit)
}

/// Whether its owner has to do something about a session.
fn needs_action(summary: &Summary) -> bool {
    [Some(summary.stuck), summary.dead, summary.unopenable, Some(summary.undecodable)]
        .into_iter()
        .flatten()
        .any(|n| n > 0)
}

/// Whether the report is about the session.
fn wanted(args: &Scan, judged: &Judged) -> bool {
    let status = judged.diagnosis.status;
    if args.stuck {
        return matches!(status, Status::Dead | Status::Stuck);
    }
    if !args.status.is_empty() {
        return args.status.contains(&status);
    }
    // What stops the import takes other sessions with it.
    let stops = judged.diagnosis.import.iter().any(|f| f.code == Code::ImportStops);
    args.all || !args.selection.sessions.is_empty() || status != Status::Healthy || stops
}

/// How many sessions are in folders that are gone. That tells something of the store of this machine alone: others may be
/// copies from elsewhere.
fn gone(context: &Context<'_>, target: &Target, audit: &Audit) -> usize {
    let own = context.global.db.is_empty() && !context.global.all_stores && target.export.is_none();
    if !own {
        return 0;
    }
    let mut known: BTreeMap<&str, bool> = BTreeMap::new();
    let own = audit.sessions.iter().map(|judged| &judged.diagnosis).filter(|d| d.format == Format::V1);
    own.map(|d| d.info.directory.as_str())
        .filter(|folder| *known.entry(folder).or_insert_with(|| is_gone(folder)))
        .count()
}

fn human(
    (context, args): (&Context<'_>, &Scan),
    target: &Target,
    audit: &Audit,
    summary: &Summary,
    shown: &[&Judged],
) -> String {
    let rows: Vec<Shown<'_>> = shown
        .iter()
        .map(|j| Shown {
            diagnosis: &j.diagnosis,
            sdk: j.sdk.as_ref().map(|s| (s.package.as_str(), s.source.as_str())),
        })
        .collect();
    let others: Vec<String> = target.others.iter().map(|p| p.display().to_string()).collect();
    let mut next = vec!["repair".to_owned(), "--dry-run".to_owned()];
    next.extend(super::words(&args.selection));
    let named = !args.selection.sessions.is_empty() || !args.status.is_empty();
    let listed = if args.all || named || context.global.verbose { Listed::Full } else { Listed::Short };
    let scan = report::Scan {
        store: &StoreDoc::new(&audit.facts, &target.path, &audit.bound),
        summary,
        sessions: &rows,
        listed,
        others: &others,
        next: &report::clean(&next.join(" ")),
        gone: gone(context, target, audit),
        import: &report::import(&context.out, audit),
        now: context.now,
    };
    report::scan(&context.out, &scan)
}
