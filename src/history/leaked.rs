//! Raw tool-call markup in an answer's text: a call that the model wrote as words, so that it never ran.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

use crate::json;

/// The markup's opening tags, each with and without the namespace. A cut-off answer may stop inside the
/// name, so only what comes before it is asked for.
const TAGS: [&str; 4] = ["<function_calls>", "<antml:function_calls>", "<invoke name=", "<antml:invoke name="];

/// Whether the string that `raw` (JSON) is may hold such markup: nearly every text lacks both words.
pub(super) fn perhaps(raw: &str) -> bool {
    static WORDS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["invoke", "function_calls"].map(Finder::new));
    WORDS.iter().any(|word| word.find(raw.as_bytes()).is_some())
}

/// Whether the string that `raw` (JSON) is holds such markup outside of code.
pub(super) fn in_json(raw: &str) -> bool {
    perhaps(raw) && json::string(raw).is_some_and(|text| in_text(&text))
}

/// Whether `text` (Markdown) holds such markup outside of fenced and inline code.
fn in_text(text: &str) -> bool {
    let tags: Vec<usize> = TAGS.iter().flat_map(|tag| text.match_indices(tag)).map(|(at, _)| at).collect();
    if tags.is_empty() {
        return false;
    }
    // Indented code counts as text: an answer that leaks a call may well indent it.
    let code: Vec<Range<usize>> = Parser::new_ext(text, Options::empty())
        .into_offset_iter()
        .filter(|(event, _)| matches!(event, Event::Code(_) | Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_)))))
        .map(|(_, range)| range)
        .collect();
    tags.iter().any(|at| !code.iter().any(|range| range.contains(at)))
}

#[cfg(test)]
mod tests {
    use super::{in_json, in_text};

    #[test]
    fn markup_in_the_text_itself_is_found() {
        for text in [
            "<invoke name=\"bash\">",
            "Let me look.\n\n<function_calls>\n<invoke name=\"bash\">\n<parameter name=\"command\">ls</parameter>",
            "<function_calls>",
            "words <invoke name=\"read\"> words",
            "cut off: <invoke name=\"ba",
            "with its namespace: <antml:invoke name=\"bash\">",
            "<antml:function_calls>",
            "```\ncode\n```\n<invoke name=\"bash\">",
            "`code` and <invoke name=\"bash\">",
            "```\n<invoke name=\"bash\">\n```\nand again <invoke name=\"bash\">",
        ] {
            assert!(in_text(text), "{text}");
        }
    }

    #[test]
    fn markup_in_code_and_the_words_alone_are_not() {
        for text in [
            "nothing",
            "to invoke name= a function_calls",
            "</invoke> alone, or &lt;invoke name=\"x\"&gt;",
            "```xml\n<antml:function_calls>\n<antml:invoke name=\"bash\">\n```",
            "```xml\n<function_calls>\n<invoke name=\"bash\">\n```",
            "~~~\n<invoke name=\"bash\">\n~~~",
            "````\n```\n<invoke name=\"bash\">\n```\n````",
            "an open fence:\n```\n<invoke name=\"bash\">",
            "inline `<invoke name=\"bash\">` and ``<function_calls>``",
            "- in a list:\n\n  ```\n  <invoke name=\"bash\">\n  ```\n",
            "> ```\n> <function_calls>\n> ```",
        ] {
            assert!(!in_text(text), "{text}");
        }
    }

    #[test]
    fn escapes_of_json_are_undone() {
        assert!(in_json(r#""\u003cinvoke name=\"bash\"\u003e""#));
        assert!(!in_json(r#""```\n<invoke name=\"bash\">\n```""#));
        assert!(!in_json("5"));
    }
}
