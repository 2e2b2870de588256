//! `unstick repair`

use std::collections::BTreeSet;

use opencode_unstick::apply::{Applied, ApplyOptions, PlannedRepair, RepairOptions, plan_repair, repair};
use opencode_unstick::audit::{Selection, Want};
use opencode_unstick::diagnosis::{Include, Includes};
use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::repair::SessionPlan;
use opencode_unstick::report::{self, ErrorBody, Output, Progress, RepairDoc, StoreDoc};
use opencode_unstick::store::with_threads;

use super::ask::Questions;
use super::{Context, Exit, Target};
use crate::cli::Repair;

pub(crate) fn run(context: &Context<'_>, args: &Repair) -> Result<Exit> {
    super::export::refuse(&args.selection.sessions)?;
    let selection = context.selection(&args.selection, None)?;
    let targets = context.targets()?;
    if targets.len() > 1 && (context.global.json || args.backup.is_some()) {
        let error = Error::new(ErrorCode::SeveralStores, "--json and --backup are about one store");
        return Err(error.hint("repair one store at a time with `unstick repair --db PATH`"));
    }
    let call = Call { context, args, selection: &selection, includes: args.include.iter().copied().collect() };
    if targets.len() > 1 {
        // One that cannot be read or written must be known before another is written: exit code 2 means nothing was changed.
        for target in &targets {
            let shown = call.plan(target)?;
            context.obstacles(&target.path, &shown.plan, args.dry_run, args.wait)?;
        }
    }
    let mut exit = Exit::Fine;
    for target in &targets {
        exit = exit.max(call.one(target, targets.len() > 1)?);
    }
    context.warn();
    Ok(exit)
}

/// What a call of `repair` is about.
struct Call<'a> {
    context: &'a Context<'a>,
    args: &'a Repair,
    selection: &'a Selection,
    includes: Includes,
}

impl Call<'_> {
    fn one(&self, target: &Target, several: bool) -> Result<Exit> {
        let shown = self.plan(target)?;
        let lacking = lacking(&shown);
        if !lacking.is_empty() && self.offers() {
            // What would help is part of the question: nobody has to know its name.
            let more = Self { includes: self.includes.with(lacking), ..*self };
            let shown = more.plan(target)?;
            return more.carry_out(target, several, shown);
        }
        self.carry_out(target, several, shown)
    }

    /// Whether somebody who has named sessions can be asked.
    fn offers(&self) -> bool {
        let Self { context, args, selection, .. } = *self;
        let asks = !args.yes && !args.dry_run && !context.global.json && !context.global.quiet;
        asks && selection.names_sessions() && Output::interactive()
    }

    fn plan(&self, target: &Target) -> Result<PlannedRepair> {
        let context = self.context;
        context.audited(self.selection, Want::Stuck, |audit| {
            let options = RepairOptions { audit: *audit, includes: self.includes, now: context.now };
            with_threads(&target.path, context.threads(), |store| plan_repair(store, &options))
        })
    }

    fn carry_out(&self, target: &Target, several: bool, mut shown: PlannedRepair) -> Result<Exit> {
        let Self { context, args, .. } = *self;
        let store = StoreDoc::new(&shown.audit.facts, &target.path, &shown.audit.bound);
        let document = |shown: &PlannedRepair| {
            RepairDoc::new(store.clone(), args.dry_run, &shown.plan, shown.all_left(), args.text)
        };
        let nothing_left = shown.left.is_empty()
            && shown.dead.is_empty()
            && shown.closed.is_empty()
            && shown.plan.sessions.iter().all(|s| s.still_unread.is_empty());
        let obstacles = context.obstacles(&target.path, &shown.plan, args.dry_run, args.wait)?;
        if !context.global.json {
            self.show(target, &shown, &obstacles, several)?;
        }
        if shown.plan.sessions.is_empty() || args.dry_run {
            if context.global.json {
                let mut document = document(&shown);
                document.obstacles = obstacles.iter().map(ErrorBody::new).collect();
                context.out.json(&document)?;
            }
            return Ok(if nothing_left && shown.plan.sessions.is_empty() { Exit::Fine } else { Exit::Findings });
        }
        let folder = context.journal_folder()?;
        let mut declined = false;
        if !args.yes {
            let kept = report::clean(&folder.display().to_string());
            context.out.note(&format!("An undo journal will be kept in {kept}"));
            let discards = shown.plan.sessions.first().map(|s| report::discards(&s.steps)).unwrap_or_default();
            let question = |title: &str| match discards.as_str() {
                "" => format!("Repair: {}? [y/N]", report::clean(title)),
                what => format!("This discards {what}. Do it? [y/N]"),
            };
            let plan_of = |session: &SessionPlan| report::session_plan(&context.out, &shown, session, context.now);
            let questions = Questions { verb: "Repair", of_one: &question, plan_of: &plan_of };
            let chosen = super::ask::choose_by(context, &shown.plan, &shown.titles, &questions)?;
            declined = chosen.len() < shown.plan.sessions.len();
            shown.plan.sessions.retain(|s| chosen.contains(&s.id));
            if shown.plan.sessions.is_empty() {
                context.out.note("Nothing was changed.");
                return Ok(Exit::Findings);
            }
        }
        let mut progress = Progress::new("copying", context.progress());
        let mut options = ApplyOptions {
            wait: args.wait,
            journals: &folder,
            backup: args.backup.as_ref().map(|file| context.env.absolute(file)),
            extract: args.extract.as_ref().map(|folder| context.env.absolute(folder)),
            now: context.now,
            progress: &mut |done, all| {
                progress.total(all);
                progress.at(done);
            },
        };
        let applied = repair(&target.path, &shown, self.includes, &context.resolver, &mut options)?;
        super::say_warning(context, &target.path, applied.warning.as_ref());
        let said = self.tell(&applied, &shown, document(&shown));
        super::say_unsaid(context, said);
        Ok(if nothing_left && !declined { Exit::Fine } else { Exit::Findings })
    }

    fn show(&self, target: &Target, shown: &PlannedRepair, obstacles: &[Error], several: bool) -> Result<()> {
        let out = &self.context.out;
        let path = report::clean(&target.path.display().to_string());
        match (out.quiet, several) {
            // One line for each store.
            (true, true) => out.print(&format!("{path}: "))?,
            (true, false) => {}
            (false, _) => out.print(&format!("{}\n\n", out.dim(&path)))?,
        }
        if !obstacles.is_empty() && !out.quiet {
            out.print(&format!("{}\n", report::obstacles(out, obstacles)))?;
        }
        Ok(out.print(&self.human(shown, obstacles.is_empty()))?)
    }

    /// What was done, for people or as a document.
    fn tell(&self, applied: &Applied, shown: &PlannedRepair, mut document: RepairDoc) -> std::io::Result<()> {
        let Self { context, args, .. } = *self;
        if context.global.json {
            document.applied = true;
            document.undo_id = Some(applied.journal.clone());
            return context.out.json(&document);
        }
        if let Some(file) = args.backup.as_ref().filter(|_| !context.global.quiet) {
            let file = context.env.absolute(file).display().to_string();
            context.out.print(&format!("\nThe store as it was: {}\n", report::clean(&file)))?;
        }
        let journal = args.journal.as_ref().map(|p| format!(" --journal {}", super::quoted(&p.to_string_lossy())));
        let undo = format!("undo {}{}", applied.journal, journal.unwrap_or_default());
        context.out.print(&report::repaired(&context.out, &shown.plan, shown.left.len(), &undo))
    }

    fn human(&self, planned: &PlannedRepair, ready: bool) -> String {
        let (args, out) = (self.args, &self.context.out);
        let (n, left) = (planned.plan.sessions.len(), planned.left.len());
        if n == 0 && left == 0 {
            let none = if self.selection.is_all() {
                "no session is stuck"
            } else {
                "no session that the call is about is stuck"
            };
            return format!("Nothing to repair: {none}.\n{}", self.still_dead(planned));
        }
        let mut text = String::new();
        if !out.quiet {
            text.push_str(&report::plan(out, planned, self.context.now));
            text.push_str(&report::left(out, &planned.left, &planned.titles));
        }
        let mut end = Vec::new();
        if args.dry_run && n > 0 {
            let sessions = if n == 1 { "1 session".to_owned() } else { format!("{n} sessions") };
            end.push(format!("Dry run: nothing was changed. Without it, {sessions} would be repaired."));
        }
        if left > 0 && (n == 0 || args.dry_run) {
            end.push(report::remain(left));
        }
        if !end.is_empty() {
            let end = end.join(" ");
            text.push_str(&if out.quiet { format!("{end}\n") } else { format!("\n{}\n", out.wrap(&end, "")) });
        }
        if args.dry_run && n > 0 && ready && !out.quiet {
            text.push_str(&format!("Next: {}\n", out.command(&self.next(&[]))));
        }
        text.push_str(&self.still_dead(planned));
        text
    }

    /// What stays as it is because nothing was said of taking out what is refused or of filling in what is missing, and how to
    /// say it: lines, or nothing.
    fn still_dead(&self, planned: &PlannedRepair) -> String {
        let (kinds, dead, closed) = (lacking(planned), planned.dead.len(), planned.closed.len());
        if dead + closed == 0 || self.context.global.quiet {
            return String::new();
        }
        let out = &self.context.out;
        let mut text = String::new();
        let mut say = |words: String| text.push_str(&format!("{}\n", out.wrap(&words, "")));
        if dead > 0 {
            let these = if dead == 1 { "1 session is dead".to_owned() } else { format!("{dead} sessions are dead") };
            say(format!(
                "{these}: rejected content is removed only if you ask for it (`--include`), because it is lost to the model."
            ));
        }
        if closed > 0 {
            let these = if closed == 1 { "1 session".to_owned() } else { format!("{closed} sessions") };
            say(format!(
                "{these} cannot be read by opencode 2: what the store tells of the missing is filled in only if you ask for it."
            ));
        }
        let kinds: Vec<Include> = kinds.into_iter().collect();
        format!("{text}Next: {}\n", out.command(&self.next(&kinds)))
    }

    /// The same call with `more` included, which is shown first, or without `--dry-run` where there is no more.
    fn next(&self, more: &[Include]) -> String {
        let mut words = vec!["repair".to_owned()];
        words.extend(super::words(&self.args.selection));
        words.extend((!more.is_empty()).then(|| "--dry-run".to_owned()));
        let names: Vec<&str> = self.args.include.iter().chain(more).map(|include| (*include).into()).collect();
        if !names.is_empty() {
            words.extend(["--include".to_owned(), names.join(",")]);
        }
        if let Some(folder) = &self.args.journal {
            words.extend(["--journal".to_owned(), super::quoted(&folder.to_string_lossy())]);
        }
        report::clean(&words.join(" "))
    }
}

/// What would have to be included for sessions that are dead or cannot be read.
fn lacking(planned: &PlannedRepair) -> BTreeSet<Include> {
    planned.dead.iter().chain(&planned.closed).flat_map(|lacking| lacking.kinds.iter().copied()).collect()
}
