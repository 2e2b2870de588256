//! Files that follow from the program: compared with it, or written anew with `UNSTICK_UPDATE=1`.

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
    if std::env::var_os("UNSTICK_UPDATE").is_some() {
        std::fs::create_dir_all(path(file).parent().unwrap()).unwrap();
        std::fs::write(path(file), text).unwrap();
    }
    assert!(read(file) == text, "{file} is not what the program says; UNSTICK_UPDATE=1 cargo test writes it anew");
}

/// Between the comments `<!-- name -->` and `<!-- end of name -->` the file holds just these lines.
pub fn section(file: &str, name: &str, lines: &[String]) {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let text = read(file);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{file} lacks {what}"));
    let (from, to) = (at(&begin) + begin.len(), at(&end));
    is(file, &format!("{}\n{}\n\n{}", &text[..from], lines.join("\n"), &text[to..]));
}
