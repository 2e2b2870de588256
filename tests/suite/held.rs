//! Files that follow from the program: compared with it, or written anew by `docs/make`.

use std::path::{Path, PathBuf};

pub fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

pub fn read(file: &str) -> String {
    let path = path(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The file of the repository holds just this text.
pub fn is(file: &str, text: &str) {
    if std::env::var_os("UNSTICK_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path(file).parent().unwrap()).unwrap();
        std::fs::write(path(file), text).unwrap();
    }
    let there = std::fs::read_to_string(path(file)).unwrap_or_default();
    let differs = there.lines().zip(text.lines()).find(|(there, made)| there != made);
    assert!(there == text, "{file} is not current; docs/make writes it anew. First difference: {differs:#?}");
}

/// Between the comments `<!-- name -->` and `<!-- /name -->` the file holds just these lines.
pub fn section(file: &str, name: &str, lines: &[String]) {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let text = read(file);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{file} lacks {what}"));
    let (from, to) = (at(&begin) + begin.len(), at(&end));
    is(file, &format!("{}\n{}\n\n{}", &text[..from], lines.join("\n"), &text[to..]));
}
