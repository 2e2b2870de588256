//! `unstick stats`

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use jiff::tz::TimeZone;
use opencode_unstick::audit::{Selection, Want, when};
use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::files::create_private;
use opencode_unstick::journal::Refusals;
use opencode_unstick::report::{self, StatsDoc, clean};
use opencode_unstick::stats::{Events, Key, StoreStats, Summary, of_store};

use super::{Context, Exit};
use crate::cli::{By, Stats};

pub(crate) fn run(context: &Context<'_>, args: &Stats) -> Result<Exit> {
    let zone = TimeZone::system();
    let time = |text: &Option<String>| text.as_deref().map(|t| when(t, context.now)).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let (mut stores, names) = stores(context, &args.files)?;
    for store in &mut stores {
        store.keep_between(since, until);
    }
    let by = args.by.map(key);
    let events: Vec<&Events> = stores.iter().map(|s| &s.events).collect();
    let summary = Summary::of(&events, by, &zone);
    if let Some(path) = &args.svg {
        let drawn = report::chart(&events, &summary, context.now, &zone)?;
        let path = context.env.absolute(path);
        write_new(&path, &drawn)?;
        if !context.global.quiet {
            context.out.note(&format!("written to {}", clean(&path.display().to_string())));
        }
    }
    if context.global.json {
        match stores.as_slice() {
            [one] => context.out.json(&StatsDoc::of_store(one, by, &zone))?,
            all => context.out.json(&StatsDoc::of_stores(all, by, &zone, context.now))?,
        }
    } else {
        context.out.print(&report::stats(&context.out, &stores, &names, &summary, (context.now, &zone)))?;
    }
    context.warn();
    Ok(Exit::Fine)
}

fn key(by: By) -> Key {
    match by {
        By::Model => Key::Model,
        By::Provider => Key::Provider,
        By::Version => Key::Version,
        By::Tool => Key::Tool,
        By::Day => Key::Day,
    }
}

/// What happened in the stores that the call is about, each counted once, with their paths.
fn stores(context: &Context<'_>, files: &[String]) -> Result<(Vec<StoreStats>, Vec<String>)> {
    let selection = Selection::default();
    let (mut stores, mut names) = (Vec::<StoreStats>::new(), Vec::new());
    let journals = |id: &str| context.journals_of(id, |refusals: &mut Refusals, entry| refusals.add(&entry));
    if let Some(file) = files.iter().find(|file| !super::export::is_file(file)) {
        return Err(Error::new(ErrorCode::Usage, format!("{} is no file", clean(file))));
    }
    for target in context.targets_or_exports(files)? {
        let store = context.audited(&selection, Want::Findings, |options| {
            context.read(&target, |store| of_store(store, options, &journals, context.now))
        })?;
        if stores.iter().any(|known| known.facts.id == store.facts.id) {
            let path = clean(&target.path.display().to_string());
            context.out.note(&format!("not counted: {path} is a copy of a store that is counted already"));
            continue;
        }
        stores.push(store);
        names.push(target.path.display().to_string());
    }
    Ok((stores, names))
}

/// Writes a file that was not there.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorCode::FileExists, format!("{} is there already", path.display()))
        }
        _ => Error::new(ErrorCode::CannotWrite, format!("{}: {error}", path.display())),
    };
    let mut file = create_private(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        // Half a picture is of no use; that the disk is full is what the person has to know.
        let _ = fs::remove_file(path);
        failed(e)
    })
}
