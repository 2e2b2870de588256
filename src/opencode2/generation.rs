//! Where the programs of opencode 2 differ, as data.

use super::shapes;

/// A program of opencode 2, or all that behave alike.
#[derive(Debug)]
pub struct Generation {
    /// How reports name it.
    pub key: &'static str,
    /// The types of rows that it does not know.
    pub(super) unknown: &'static [&'static str],
    /// A resumed session gets a notice first, which is sent as the user's turn.
    pub resume_notice: bool,
    /// How often a session is resumed before it is given up.
    pub resumes: Option<i64>,
    /// Text without a word is dropped when a request to Anthropic is made, and a turn of which nothing is left.
    pub(super) drops_blank: bool,
    /// An empty text is kept until then if it has provider state.
    pub(super) keeps_stateful_text: bool,
    /// Thinking without a signature is sent to Anthropic as plain text.
    pub(super) unsigned_as_text: bool,
    /// Results that follow each other are one turn for Anthropic.
    pub(super) joins_results: bool,
    /// A PDF of a prompt is sent.
    pub(super) sends_pdf: bool,
    /// Ids of calls are spelled with the letters that Claude takes.
    pub(super) spells_ids: bool,
    /// A waiting compaction is made even if the program has just started. The preview fails it then, because it does not
    /// know its models yet, and goes on without.
    pub(super) compacts_at_once: bool,
}

/// The preview `0.0.0-next-16350`: measured.
pub static PREVIEW: Generation = Generation {
    key: "next-16350",
    unknown: shapes::NOT_OF_THE_PREVIEW,
    resume_notice: false,
    resumes: None,
    drops_blank: false,
    keeps_stateful_text: false,
    unsigned_as_text: false,
    joins_results: false,
    sends_pdf: false,
    spells_ids: false,
    compacts_at_once: false,
};

/// Released programs, by the code of 2.0.26: read, not measured.
pub static RELEASED: Generation = Generation {
    key: "2.0",
    unknown: &[],
    resume_notice: true,
    resumes: Some(10),
    drops_blank: true,
    keeps_stateful_text: true,
    unsigned_as_text: true,
    joins_results: true,
    sends_pdf: true,
    spells_ids: true,
    compacts_at_once: true,
};
