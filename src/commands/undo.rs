//! `unstick undo`

use opencode_unstick::apply::{ApplyOptions, JournalLine, PlannedUndo, list_journals, pick_journal, plan_undo, undo};
use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::journal::journals;
use opencode_unstick::report::{self, JournalsDoc, UndoDoc};

use super::{Context, Exit, Target};
use crate::cli::Undo;

pub(crate) fn run(context: &Context<'_>, args: &Undo) -> Result<Exit> {
    let folder = context.journal_folder()?;
    let found = journals(&folder, |(), _, _| {})?;
    let target = match target(context) {
        // What is on record can be told without the store: it may have been moved, or be of another home.
        Err(error) if args.list && error.code() == ErrorCode::NoStore => None,
        target => Some(target?),
    };
    let lines = list_journals(target.as_ref().map(|t| t.path.as_path()), &found)?;
    let Some(target) = target.filter(|_| !args.list) else {
        if context.global.json {
            context.out.json(&JournalsDoc::new(lines))?;
        } else {
            context.out.print(&report::journals(&context.out, &lines, &folder, context.now))?;
        }
        return Ok(Exit::Fine);
    };
    let line = pick_journal(&lines, args.id.as_deref())?;
    let mut shown = plan_undo(&target.path, &found, &line.id, context.now)?;
    let obstacles = context.obstacles(&target.path, &shown.plan, args.dry_run, args.wait)?;
    if !context.global.json {
        if !obstacles.is_empty() && !context.out.quiet {
            context.out.print(&format!("{}\n", report::obstacles(&context.out, &obstacles)))?;
        }
        show(context, args, line, &shown)?;
    }
    let nothing_left = shown.left.is_empty();
    if shown.plan.sessions.is_empty() || args.dry_run {
        if context.global.json {
            context.out.json(&UndoDoc::new(args.dry_run, &shown.plan, shown.left.clone()))?;
        }
        return Ok(if nothing_left { Exit::Fine } else { Exit::Findings });
    }
    let mut declined = false;
    if !args.yes {
        let chosen = super::ask::choose(context, "Take back", &shown.plan, &shown.titles)?;
        declined = chosen.len() < shown.plan.sessions.len();
        shown.plan.sessions.retain(|s| chosen.contains(&s.id));
        if shown.plan.sessions.is_empty() {
            context.out.note("Nothing was changed.");
            return Ok(Exit::Findings);
        }
    }
    let mut progress = |_, _| {};
    let mut options = ApplyOptions::new(&folder, args.wait, context.now, &mut progress);
    let applied = undo(&target.path, &found, &shown, &mut options)?;
    super::say_warning(context, &target.path, applied.warning.as_ref());
    let said = if context.global.json {
        let mut document = UndoDoc::new(false, &shown.plan, shown.left.clone());
        document.applied = true;
        document.undo_id = Some(applied.journal);
        context.out.json(&document)
    } else {
        context.out.print(&report::undone(&context.out, &shown.plan, shown.left.len(), shown.journal.kind))
    };
    super::say_unsaid(context, said);
    Ok(if nothing_left && !declined { Exit::Fine } else { Exit::Findings })
}

fn show(context: &Context<'_>, args: &Undo, line: &JournalLine, shown: &PlannedUndo) -> Result<()> {
    let out = &context.out;
    out.print(&report::undo_plan(out, line, shown, context.now))?;
    let (n, left) = (shown.plan.sessions.len(), shown.left.len());
    let mut end = Vec::new();
    if args.dry_run {
        let sessions = if n == 1 { "1 session".to_owned() } else { format!("{n} sessions") };
        end.push(format!("Dry run: nothing was changed. Without it, {sessions} would be as before."));
    }
    if left > 0 && (n == 0 || args.dry_run) {
        end.push(report::remain(left));
    }
    if !end.is_empty() {
        let gap = if out.quiet { "" } else { "\n" };
        let end = end.join(" ");
        out.print(&format!("{gap}{}\n", if out.quiet { end } else { out.wrap(&end, "") }))?;
    }
    Ok(())
}

/// The one store that the call is about.
fn target(context: &Context<'_>) -> Result<Target> {
    let mut targets = context.targets()?;
    if targets.len() == 1
        && let Some(target) = targets.pop()
    {
        return Ok(target);
    }
    let error = Error::new(ErrorCode::SeveralStores, "undo is about one store");
    Err(error.hint("name it with `unstick undo --db PATH`"))
}
