//! What opencode 2's import does to sessions of opencode 1 (docs/opencode.md §16).

use super::{Applicability, Code, Finding, finding};
use crate::opencode2::import::{self, Columns, Effect, Examination, Stop};

/// What the import does to a session, what stops it first.
#[must_use]
pub fn findings(session: Examination, columns: &Columns) -> Vec<Finding> {
    session.findings(columns).iter().map(said).collect()
}

fn said(found: &import::Finding) -> Finding {
    let (code, mends, detail) = match &found.effect {
        Effect::Stops(Stop::BrokenEscape) => {
            (Code::ImportStops, true, "its `data:` URL has a percent sign that begins no escape".to_owned())
        }
        Effect::Stops(Stop::MessageId) => (Code::ImportStops, false, "its id does not begin with `msg_`".to_owned()),
        Effect::Stops(Stop::Null(column)) => (Code::ImportStops, false, format!("its `{column}` is NULL")),
        Effect::Stops(Stop::Column(misfit)) => (Code::ImportStops, false, misfit.to_string()),
        Effect::Drops(misfit) => (Code::ImportDropsRow, false, misfit.to_string()),
        Effect::DropsOrphan => (Code::ImportDropsRow, false, "its message does not exist".to_owned()),
        Effect::HidesHistory => {
            (Code::ImportHidesHistory, true, "it has no `time.completed`, and is not the last row".to_owned())
        }
        Effect::BringsBack(1) => {
            (Code::ImportForgetsRevert, false, "1 message that was taken back is there again".into())
        }
        Effect::BringsBack(n) => {
            (Code::ImportForgetsRevert, false, format!("{n} messages that were taken back are there again"))
        }
    };
    let row = found.row.as_str();
    let (message, part) = if row.starts_with("prt") { ("", Some(row)) } else { (row, None) };
    let applicability = if mends { Applicability::OptIn } else { Applicability::ReportOnly };
    Finding { applicability, ..finding(code, message, part, detail) }
}
