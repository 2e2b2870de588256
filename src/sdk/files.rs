//! Reading files that belong to somebody else, without trusting them to be small or to be files.

use std::io::Read;
use std::path::Path;

/// The text of a file: `None` if there is none, an explanation if it cannot be used.
///
/// A folder, a pipe or a device is refused, since reading one may never end; so is a file above `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<String>, String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    // The size is checked on what was read: the file may grow meanwhile.
    file.take(limit + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > limit {
        return Err(format!("larger than {limit} bytes"));
    }
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
}
