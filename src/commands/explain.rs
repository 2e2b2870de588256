//! `unstick explain`

use jiff::tz::TimeZone;
use opencode_unstick::audit::{Options, Selection, Want};
use opencode_unstick::error::{Error, ErrorCode, Result};
use opencode_unstick::explain::{Explained, explain};
use opencode_unstick::report::{self, ExplainDoc, StoreDoc};

use super::{Context, Exit, Target};
use crate::cli::Explain;

pub(crate) fn run(context: &Context<'_>, args: &Explain) -> Result<Exit> {
    let targets = context.targets_or_exports(std::slice::from_ref(&args.session))?;
    let selection = match targets.first().and_then(|target| target.export.as_ref()) {
        Some(export) => Selection::of(export.session(), None),
        None => Selection::of(&args.session, args.format),
    };
    let mut missing: Option<Error> = None;
    for target in &targets {
        let found = context.audited(&selection, Want::Findings, |options| {
            let options = Options { deep: true, ..*options };
            context.read(target, |store| explain(store, &options, args.text, context.now))
        });
        match found {
            Ok(found) => return show(context, target, &found),
            // The session may be in the next store.
            Err(error) if error.code() == ErrorCode::NoSuchSession => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(missing.unwrap_or_else(|| Error::new(ErrorCode::NoStore, "there is no store to look at")))
}

fn show(context: &Context<'_>, target: &Target, found: &Explained) -> Result<Exit> {
    let zone = TimeZone::system();
    if context.global.json {
        context.out.json(&ExplainDoc::new(found, context.now, &zone))?;
    } else {
        let bound = report::bound_words(&StoreDoc::new(&found.facts, &target.path, &found.bound));
        context.out.print(&report::explain(&context.out, found, &bound, context.now, &zone))?;
    }
    context.warn();
    Ok(Exit::Fine)
}
