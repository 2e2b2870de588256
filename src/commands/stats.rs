//! `unstick stats`

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Error;
use jiff::tz::TimeZone;
use opencode_unstick::diagnosis::Status;
use opencode_unstick::error::ErrorCode;
use opencode_unstick::history::{ModelRef, Session};
use opencode_unstick::repair::journal::{Refusals, removed_refusals};
use opencode_unstick::replay::Sdk;
use opencode_unstick::report::{self, ReportError, StatsDoc, StoreDoc, StoreReport, clean};
use opencode_unstick::stats::{Events, Key, Summary, newest_of_each_store, refusing_models};
use opencode_unstick::store::with_snapshot;

use super::audit::{AuditError, Want, audit_each, unwrap_call};
use super::select::{Filter, when};
use super::{CallError, Context, Exit};
use crate::cli::{By, Stats};

pub(crate) fn run(context: &Context<'_>, args: &Stats) -> Result<Exit, Error> {
    let zone = TimeZone::system();
    let time = |text: &Option<String>| text.as_deref().map(|t| when(t, context.now)).transpose();
    let (since, until) = (time(&args.since)?, time(&args.until)?);
    let (reports, names) = if args.from.is_empty() { of_stores(context)? } else { of_files(&args.from)? };
    let (mut reports, again) = newest_of_each_store(reports, |r| (r.store.id.clone(), r.generated_ms));
    for report in &again {
        context.out.note(&format!("counted once: store {} is there more than once", clean(&report.store.id)));
    }
    for report in &mut reports {
        report.keep_between(since, until);
    }
    let by = args.by.map(key);
    let events: Vec<&Events> = reports.iter().map(|r| &r.events).collect();
    let summary = Summary::of(&events, by, &zone);
    if let Some(path) = &args.svg {
        let drawn = report::chart(&events, &summary, &zone)?;
        write_new(&context.env.absolute(path), &drawn)?;
    }
    if args.csv {
        context.out.print(&report::stats_csv(&reports, &summary)?)?;
    } else if context.global.json {
        match reports.as_slice() {
            [one] if args.from.is_empty() && again.is_empty() => {
                context.out.json(&StatsDoc::of_store(one, by, &zone))?;
            }
            all => context.out.json(&StatsDoc::of_stores(all, by, &zone, context.now))?,
        }
    } else {
        context.out.print(&report::stats(
            &context.out,
            &reports,
            &names,
            args.from.is_empty(),
            &summary,
            context.now,
            &zone,
        ))?;
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

/// Reads the stores that the call is about, one session at a time.
fn of_stores(context: &Context<'_>) -> Result<(Vec<StoreReport>, Vec<String>), Error> {
    let (mut reports, mut names) = (Vec::new(), Vec::new());
    for target in context.targets()? {
        reports.push(of_store(context, &target.path)?);
        names.push(target.path.display().to_string());
    }
    Ok((reports, names))
}

fn of_store(context: &Context<'_>, path: &Path) -> Result<StoreReport, AuditError> {
    let filter = Filter::default();
    let report = with_snapshot(path, |store| {
        let mut events = Events::default();
        // A session may come several times, the last time with all that was asked for.
        let mut newest: Option<(String, Events)> = None;
        let audit = audit_each(context, store, &filter, Want::Findings, |session, diagnosis| {
            let mut found = Events::default();
            found.add(session, diagnosis, &sdks(context, session));
            if let Some((id, before)) = newest.replace((session.info.id.clone(), found))
                && id != session.info.id
            {
                events.append(before);
            }
        });
        events.append(newest.map(|(_, found)| found).unwrap_or_default());
        unwrap_call(audit.map(|audit| {
            let journals = context.journals_of(&audit.store.id, |refusals: &mut Refusals, entry| refusals.add(&entry));
            // A row that is there is not gone, whatever a journal says: the store may be a copy from before.
            let mut removed = removed_refusals(journals.iter().map(|(journal, refusals)| (journal, refusals)));
            removed.retain(|id| !events.pairs.iter().any(|p| p.message_id == *id));
            let stuck = audit.sessions.iter().filter(|j| j.diagnosis.status == Status::Stuck).count();
            StoreReport {
                store: StoreDoc { path: None, ..audit.store },
                generated_ms: context.now,
                since_ms: None,
                until_ms: None,
                unreadable_rows: audit.unreadable_rows.len() as u64,
                removed_by_repair: removed.len() as u64,
                stuck_sessions: Some(stuck as u64),
                events,
            }
        }))
    })??;
    Ok(report)
}

/// The SDK package of each model that refused something in the session.
pub(crate) fn sdks(context: &Context<'_>, session: &Session) -> BTreeMap<ModelRef, Sdk> {
    let folder = Path::new(&session.info.directory);
    refusing_models(session)
        .into_iter()
        .map(|m| (m.clone(), Sdk::new(context.resolver.choose(&m.provider, &m.model, folder).package)))
        .collect()
}

/// Reads reports from files and folders; everything that is wrong with any of them is said at once.
fn of_files(paths: &[PathBuf]) -> Result<(Vec<StoreReport>, Vec<String>), CallError> {
    let (mut reports, mut wrong, mut mixed) = (Vec::new(), Vec::new(), false);
    let mut names = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        match json_files(path) {
            Ok(found) if found.is_empty() => wrong.push(format!("{} holds no *.json", path.display())),
            Ok(found) => files.extend(found),
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    for file in files {
        let read = match fs::read(&file) {
            Ok(bytes) => String::from_utf8(bytes)
                .map_err(|_| ReportError::NotJson("not UTF-8".to_owned()))
                .and_then(|text| StoreReport::parse(&text)),
            Err(error) => {
                wrong.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        match read {
            Ok(mut found) => {
                reports.append(&mut found);
                names.push(file.display().to_string());
            }
            Err(error) => {
                mixed |= matches!(error, ReportError::Schema(_));
                wrong.push(format!("{} {error}", file.display()));
            }
        }
    }
    if wrong.is_empty() {
        return Ok((reports, names));
    }
    let code = if mixed { ErrorCode::MixedSchema } else { ErrorCode::BadReport };
    Err(CallError::new(code, format!("the reports cannot be put together: {}", wrong.join("; "))))
}

/// The file itself, or the `*.json` of a folder by name.
fn json_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut out = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) && file.is_file() {
            out.push(file);
        }
    }
    out.sort();
    Ok(out)
}

/// Writes a file that was not there, readable for its owner alone. What is there is never overwritten, and a
/// link is not followed.
fn write_new(path: &Path, text: &str) -> Result<(), CallError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CallError::new(ErrorCode::FileExists, format!("{} is there already", path.display()))
        }
        _ => CallError::new(ErrorCode::CannotWrite, format!("{}: {error}", path.display())),
    };
    let mut file = options.open(path).map_err(|e| failed(&e))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        // Half a picture is of no use; that the disk is full is what the person has to know.
        let _ = fs::remove_file(path);
        failed(&e)
    })
}
