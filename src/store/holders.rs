//! Other processes that have a store open.

use std::path::{Path, PathBuf};

use super::sidecar;

/// Other processes that have the store or a file beside it open, with their names. Only Linux tells.
#[must_use]
pub fn holders(path: &Path) -> Vec<(u32, String)> {
    let Ok(real) = path.canonicalize() else { return Vec::new() };
    let files: Vec<PathBuf> =
        std::iter::once(real.clone()).chain(["-wal", "-shm", "-journal"].map(|s| sidecar(&real, s))).collect();
    let mut out = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let open = std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        if open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|target| files.contains(&target)) {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            out.push((pid, name.trim().to_owned()));
        }
    }
    out.sort();
    out
}

pub(super) fn describe(holders: &[(u32, String)]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let plain = |name: &str| name.chars().filter(|c| c.is_ascii_graphic()).collect::<String>();
    let names: Vec<String> = holders.iter().map(|(pid, name)| format!("{} {pid}", plain(name))).collect();
    format!(" ({})", names.join(", "))
}
