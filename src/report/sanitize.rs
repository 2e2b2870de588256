//! Text from a store on its way to a terminal.

/// The text with everything that steers a terminal or turns its direction made visible as `\u{…}`-like
/// marks, and line breaks as spaces: control characters, escape sequences' first bytes, bidi controls,
/// zero-width and other invisible characters.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if steers(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Whether the character must not reach a terminal as it is.
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn nothing_that_steers_gets_through() {
        assert_eq!(clean("a\u{1b}[31mb\u{7}\u{9b}2J"), "a\u{fffd}[31mb\u{fffd}\u{fffd}2J");
        assert_eq!(clean("line\nbreak\ttab"), "line break tab");
        assert_eq!(clean("x\u{202e}evil\u{2066}"), "x\u{fffd}evil\u{fffd}");
        assert_eq!(clean("日本語 עברית é 👍"), "日本語 עברית é 👍");
    }
}
