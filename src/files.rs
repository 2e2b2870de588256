//! Files that this program makes: readable by their owner alone, never over what is there, and there after a power loss.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Makes a file that only its owner can read. What is there is never overwritten, and a link is not followed.
///
/// # Errors
/// What the system says; [`io::ErrorKind::AlreadyExists`] where something is there.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the folder and those above it that are missing, for their owner alone, so that they last through a power loss.
///
/// # Errors
/// What the system says.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => Err(e),
        _ => sync_folder(above),
    }
}

/// Whether entries of the folder may be made and removed, as far as the system tells without trying.
#[must_use]
pub fn may_write(folder: &Path) -> bool {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    }
    #[cfg(not(unix))]
    {
        // The read-only mark of a folder says nothing there: whoever tries is told.
        let _ = folder;
        true
    }
}

/// Makes a change of the folder's entries last through a power loss.
///
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
