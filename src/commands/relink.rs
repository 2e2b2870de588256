//! `unstick relink`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use opencode_unstick::apply::{ApplyOptions, PlannedRelink, plan_relink, relink};
use opencode_unstick::environment::folders::{candidates, is_gone};
use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::relink::Move;
use opencode_unstick::replay::Bound;
use opencode_unstick::report::{self, Gone, RelinkDoc, StoreDoc};
use opencode_unstick::store::{Folder, with_snapshot};

use super::{Context, Exit, Target};
use crate::cli::Relink;

pub(crate) fn run(context: &Context<'_>, args: &Relink) -> Result<Exit> {
    let target = target(context)?;
    match (&args.old, &args.new) {
        (Some(old), Some(new)) => {
            let (from, to) = (folder(context, old)?, folder(context, new)?);
            if !Path::new(&to).is_dir() {
                let error = Error::new(ErrorCode::Usage, format!("{to} is no folder"));
                return Err(error.hint("name the folder as it is now, after the one that is gone"));
            }
            if from == to {
                return Err(Error::new(ErrorCode::Usage, "both folders are the same"));
            }
            Call { context, args, target: &target, moved: Move { from: &from, to: &to } }.run()
        }
        _ => list(context, &target),
    }
}

/// A folder as the store names it: absolute, without a separator at the end.
fn folder(context: &Context<'_>, path: &Path) -> Result<String> {
    let path: PathBuf = context.env.absolute(path).components().collect();
    let text = path.to_str().map(|text| text.trim_end_matches(['/', '\\']).to_owned());
    text.filter(|text| !text.is_empty())
        .ok_or_else(|| Error::new(ErrorCode::Usage, format!("{} cannot be relinked", path.display())))
}

/// Sessions whose folder is gone, by that folder. The same folder may be two projects'.
pub(super) fn gone(folders: Vec<Folder>) -> Vec<Folder> {
    let mut there: BTreeMap<String, bool> = BTreeMap::new();
    folders
        .into_iter()
        .filter(|folder| *there.entry(folder.directory.clone()).or_insert_with(|| is_gone(&folder.directory)))
        .collect()
}

fn list(context: &Context<'_>, target: &Target) -> Result<Exit> {
    let (facts, folders) = with_snapshot(&target.path, |store| Ok((store.facts()?, store.folders()?)))?;
    let known: Vec<PathBuf> =
        folders.iter().map(|folder| PathBuf::from(&folder.directory)).filter(|path| path.is_dir()).collect();
    let found: Vec<Gone> = gone(folders)
        .into_iter()
        .map(|folder| Gone { candidates: candidates(&folder.directory, &folder.project_id, &known), folder })
        .collect();
    if context.global.json {
        context.out.json(&RelinkDoc::of_gone(&facts.id, &found))?;
    } else {
        let bound = Bound::any("");
        let store = StoreDoc::new(&facts, &target.path, &bound);
        context.out.print(&report::gone(&context.out, &store, &found, context.now))?;
    }
    Ok(if found.is_empty() { Exit::Fine } else { Exit::Findings })
}

/// The one store that the call is about.
fn target(context: &Context<'_>) -> Result<Target> {
    let mut targets = context.targets()?;
    match (targets.pop(), targets.is_empty()) {
        (Some(target), true) => Ok(target),
        _ => Err(Error::new(ErrorCode::SeveralStores, "relink is about one store")
            .hint("name it with `unstick relink --db PATH`")),
    }
}

struct Call<'a> {
    context: &'a Context<'a>,
    args: &'a Relink,
    target: &'a Target,
    moved: Move<'a>,
}

impl Call<'_> {
    fn run(&self) -> Result<Exit> {
        let Self { context, args, target, moved } = *self;
        let shown = with_snapshot(&target.path, |store| plan_relink(store, moved, context.now))?;
        let obstacles = context.obstacles(&target.path, &shown.plan, args.dry_run, args.wait)?;
        if !context.global.json {
            if !obstacles.is_empty() && !context.out.quiet {
                context.out.print(&format!("{}\n", report::obstacles(&context.out, &obstacles)))?;
            }
            context.out.print(&report::relink_plan(&context.out, &shown))?;
            if Path::new(moved.from).exists() {
                context.out.note(&format!("note: {} is still there", report::clean(moved.from)));
            }
        }
        if args.dry_run || shown.plan.sessions.is_empty() {
            if context.global.json {
                context.out.json(&RelinkDoc::of_plan(&shown, args.dry_run))?;
            } else if args.dry_run {
                context.out.print("\nDry run: nothing was changed.\n")?;
            }
            return Ok(Exit::Findings);
        }
        let folder = context.journal_folder()?;
        if !args.yes
            && super::ask::choose(context, "Relink", &shown.plan, &shown.titles)?.len() != shown.plan.sessions.len()
        {
            context.out.note("Nothing was changed.");
            return Ok(Exit::Findings);
        }
        let mut progress = |_, _| {};
        let mut options = ApplyOptions::new(&folder, args.wait, context.now, &mut progress);
        let applied = relink(&target.path, &shown, moved, &mut options)?;
        super::say_warning(context, &target.path, applied.warning.as_ref());
        super::say_unsaid(context, self.tell(&shown, &applied.journal));
        Ok(if shown.left.is_empty() { Exit::Fine } else { Exit::Findings })
    }

    fn tell(&self, shown: &PlannedRelink, journal: &str) -> std::io::Result<()> {
        let Self { context, args, .. } = *self;
        if context.global.json {
            let mut document = RelinkDoc::of_plan(shown, false);
            document.applied = true;
            document.undo_id = Some(journal.to_owned());
            return context.out.json(&document);
        }
        let folder = args.journal.as_ref().map(|p| format!(" --journal {}", super::quoted(&p.to_string_lossy())));
        let undo = format!("undo {journal}{}", folder.unwrap_or_default());
        context.out.print(&report::relinked(&context.out, shown, &undo))
    }
}
