//! `repair --extract`: the files that leave a history, and the parts that are taken out of it whole, saved before they do.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::create_private;
use crate::history::bytes_of;
use crate::json::{self, Object};
use crate::repair::{Action, Plan, Redaction, Step};
use crate::rows::{Lookup as _, Table};
use crate::store::Store;

/// What is kept of a media type in a file's name.
const ENDINGS: [(&str, &str); 5] = [
    ("image/png", "png"),
    ("image/jpeg", "jpg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
    ("application/pdf", "pdf"),
];

/// Saves every file and every broken part that leaves to the folder, which is made if it is not there. A file is named by its part, is readable
/// by its owner alone, and goes over nothing that is there: not through a link either.
///
/// Returns how many were saved. Those whose bytes cannot be decoded are saved as the text that they are.
///
/// # Errors
/// When a file cannot be written. Those that were written stay.
pub(super) fn save(store: &Store<'_>, plan: &Plan, folder: &Path) -> Result<u64> {
    let taken: Vec<&str> = plan
        .sessions
        .iter()
        .flat_map(|s| &s.steps)
        .filter_map(|step| match &step.action {
            Action::TakeOut { part_id, .. } => Some(part_id.as_str()),
            _ => None,
        })
        .collect();
    let leaving: Vec<&Redaction> =
        plan.sessions.iter().flat_map(|s| &s.steps).filter_map(Step::redaction).filter(|l| l.mime.is_some()).collect();
    if leaving.is_empty() && taken.is_empty() {
        return Ok(0);
    }
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "make", e))?;
    let mut data: BTreeMap<&str, String> = BTreeMap::new();
    let mut saved = 0;
    for leaves in leaving {
        if !data.contains_key(leaves.part_id.as_str()) {
            data.clear();
            data.insert(&leaves.part_id, store.data(Table::Part, &leaves.part_id)?.unwrap_or_default());
        }
        let Some(url) = data.get(leaves.part_id.as_str()).and_then(|data| url_of(data, leaves)) else { continue };
        let bytes = bytes_of(&url).unwrap_or_else(|| url.clone().into_bytes());
        write(&folder.join(name(leaves)), &bytes)?;
        saved += 1;
    }
    for part in taken {
        let data = store.data(Table::Part, part)?.unwrap_or_default();
        write(&folder.join(format!("{}.json", plain(part))), data.as_bytes())?;
        saved += 1;
    }
    Ok(saved)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = create_private(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|e| Error::io(path, "write", e))
}

/// The raw JSON string of the file's address.
fn url_of(data: &str, leaves: &Redaction) -> Option<String> {
    let part = Object::parse(data).ok()?;
    let raw = match leaves.attachment {
        None => part.get("url")?,
        Some(at) => {
            let state = Object::parse(part.some("state")?).ok()?;
            let file = *json::array(state.some("attachments")?)?.get(at)?;
            Object::parse(file).ok()?.get("url")?
        }
    };
    Some(raw.to_owned())
}

/// What of a part's id can be in the name of a file: a store's text is in none.
fn plain(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The part's id and the attachment's number.
fn name(leaves: &Redaction) -> PathBuf {
    let id = plain(&leaves.part_id);
    let number = leaves.attachment.map(|at| format!("-{at}")).unwrap_or_default();
    let ending = ENDINGS.iter().find(|(mime, _)| leaves.mime.as_deref() == Some(*mime)).map_or("bin", |(_, e)| *e);
    format!("{id}{number}.{ending}").into()
}
