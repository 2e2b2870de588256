//! Laying out for a terminal: tables whose cells are fitted before they are put in, so that no word is broken.
//!
//! A title stands last on its line. Text that is written from right to left turns what follows it on the line, and a
//! line that begins with it may be shown from the right; neither can happen to an id or a number that way.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Output, clean};

/// From this width on, an id and a title stand on one line.
const ONE_LINE: u16 = 60;

/// A text cut to `width` columns, with an ellipsis where something went.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = clean(text);
    if text.width() <= width {
        return text;
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > width {
            break;
        }
        used += w;
        out.push(c);
    }
    out + "…"
}

/// A text in lines of `width` columns, broken at spaces alone: a longer word stands out.
pub(super) fn wrap(text: &str, width: usize) -> String {
    textwrap::fill(
        text,
        textwrap::Options::new(width)
            .break_words(false)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation),
    )
}

/// A session's id and its title, on one line where there is room.
pub(super) fn named(out: &Output, id: &str, title: &str) -> String {
    let width = usize::from(out.width);
    let id = clean(id);
    if out.width < ONE_LINE {
        return format!("{}\n  {}\n", out.bold(&id), fit(title, width - 2));
    }
    format!("{}  {}\n", out.bold(&id), fit(title, width.saturating_sub(id.width() + 2)))
}

/// A table without lines: two spaces between the columns, cells as they are.
pub(super) fn grid(out: &Output, header: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if out.color {
        table.enforce_styling();
    }
    if !header.is_empty() {
        table.set_header(header.iter().map(|h| Cell::new(h).add_attribute(Attribute::Dim)));
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A number, or what reads like one.
pub(super) fn right(n: impl ToString) -> Cell {
    Cell::new(n).set_alignment(CellAlignment::Right)
}
