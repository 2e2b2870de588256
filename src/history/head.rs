//! Rows judged without being parsed: a skim of the JSON that takes note of the outermost members alone.
//!
//! A sweep over a store asks little of a row, and mostly the start of it tells. The skim answers only where it is
//! sure: whatever it does not expect (an escape in a name, a member that stands twice, a field of another kind) is
//! `None`, and the caller reads the whole row with the parser that everything else uses. Of a value that is cut
//! off, the part that is not there is taken to be what `JSON.stringify` would have written.

use memchr::memmem;

use super::{Media, PartKind, ToolState, leaked, limits};
use crate::json::{self, truthy};

/// What a sweep asks of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartFact {
    /// What it says about tails and calls.
    pub kind: FactKind,
    /// A request that holds it may break a rule of some provider.
    pub suspect: bool,
    /// How many images it carries.
    pub images: u32,
    /// One of them is larger than requests with many images may hold.
    pub large: bool,
    /// A hash of its call's id as it is sent.
    pub call: Option<u32>,
    /// It is a call that the provider ran.
    pub served: bool,
    /// What it says about how an answer ends.
    pub end: End,
}

/// What a part says about how an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Silent,
    /// A block of the answer begins.
    Start,
    /// It is thinking: an answer that ends with it may be refused.
    Thinks,
    /// It is something else that is sent.
    Speaks,
}

/// What a part says about tails and calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// Nothing that a sweep looks for.
    Quiet,
    /// A tool call that came to an end.
    Tool,
    /// A call that was cut off or is stored as still going on, or a call that leaked into the text.
    Loud,
}

impl PartFact {
    const QUIET: Self = Self {
        kind: FactKind::Quiet,
        suspect: false,
        images: 0,
        large: false,
        call: None,
        served: false,
        end: End::Silent,
    };
    const THINKS: Self = Self { end: End::Thinks, ..Self::QUIET };
    const SPEAKS: Self = Self { end: End::Speaks, ..Self::QUIET };

    /// A text; whether it is `""`, or white space alone.
    fn text(empty: bool, blank: bool) -> Self {
        Self { suspect: blank, ..if empty { Self::QUIET } else { Self::SPEAKS } }
    }

    /// A finished call without attachments.
    fn tool(id: &str) -> Self {
        Self { kind: FactKind::Tool, suspect: id.is_empty(), call: Some(hash(id)), ..Self::SPEAKS }
    }

    /// What a sweep asks of a part that was parsed.
    #[must_use]
    pub fn of(kind: &PartKind) -> Self {
        match kind {
            PartKind::Tool(call) => {
                let kind = if call.orphan() || call.unsettled() { FactKind::Loud } else { FactKind::Tool };
                let files: &[Media] = match &call.state {
                    ToolState::Completed { compacted: false, attachments, .. } => attachments,
                    _ => &[],
                };
                let plain = Self::tool(&call.call_id);
                let served = call.provider_executed;
                Self { kind, suspect: plain.suspect || served, served, ..plain }.with(files)
            }
            PartKind::Text { text, .. } => {
                let kind = if text.leaked_call { FactKind::Loud } else { FactKind::Quiet };
                Self { kind, ..Self::text(text.empty, text.blank) }
            }
            PartKind::File(media) => Self::SPEAKS.with(std::slice::from_ref(media)),
            PartKind::Reasoning { .. } => Self::THINKS,
            PartKind::StepStart => Self { end: End::Start, ..Self::QUIET },
            _ => Self::QUIET,
        }
    }

    fn with(mut self, files: &[Media]) -> Self {
        for media in files.iter().filter(|media| media.is_media()) {
            self.suspect |= limits::alone(media).is_some();
            self.images += u32::from(media.is_image());
            self.large |= media.longest().is_some_and(|side| side > limits::SIDE_AMONG_MANY);
        }
        self
    }
}

/// What a session sends that a provider may refuse, over all its rows: a request holds some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Risk {
    /// A part may be refused by itself, two calls have the same id, or an answer ends with thinking.
    pub suspect: bool,
    /// The provider ran a call: not every package can send that.
    pub served: bool,
    /// How many images there are.
    pub images: u32,
    /// One of them is larger than requests with many images may hold.
    pub large: bool,
}

impl From<PartFact> for Risk {
    fn from(fact: PartFact) -> Self {
        Self { suspect: fact.suspect, served: fact.served, images: fact.images, large: fact.large }
    }
}

impl Risk {
    /// Takes in what else the session holds.
    pub fn add(&mut self, other: Self) {
        self.suspect |= other.suspect;
        self.served |= other.served;
        self.images += other.images;
        self.large |= other.large;
    }

    /// Whether its requests have to be looked at.
    #[must_use]
    pub fn counts(self) -> bool {
        let images = self.images as usize;
        self.suspect || (self.large && images > limits::MANY) || images > limits::IMAGES
    }
}

/// The mark of a call that the provider ran itself.
const PROVIDER_EXECUTED: &[u8] = b"providerExecuted";

/// Members of a call that stand behind its output, and that a sweep asks for however long that is.
pub const BEHIND_OUTPUT: [&[u8]; 2] = [b"attachments", PROVIDER_EXECUTED];

/// The id of a call as opencode sends it to a Claude, which takes letters, digits, `_` and `-` alone: JavaScript replaces
/// UTF-16 units, so a character beyond the first plane becomes two.
pub(crate) fn sent_id(id: &str) -> impl Iterator<Item = u8> {
    id.encode_utf16().map(|unit| match u8::try_from(unit) {
        Ok(c) if c.is_ascii_alphanumeric() || c == b'_' || c == b'-' => c,
        _ => b'_',
    })
}

/// FNV-1a of the id as it is sent: what is compared is the ids of one session, and a chance hit only makes that be read.
fn hash(id: &str) -> u32 {
    sent_id(id).fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What a sweep asks of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageFact<'a> {
    /// `data.time.created`.
    pub created: f64,
    /// Whose turn it is, with what that says.
    pub role: RoleFact<'a>,
}

/// Whose turn a message is, as far as a sweep asks.
#[derive(Debug, Clone, PartialEq)]
pub enum RoleFact<'a> {
    /// The user's, with provider and model.
    User(Option<(&'a str, &'a str)>),
    /// The assistant's.
    Assistant {
        /// The user row that it answers.
        parent: Option<&'a str>,
        /// Why it ended.
        finish: Option<&'a str>,
        /// It is a compaction's summary.
        summary: bool,
    },
}

/// Most members of an object that are taken note of: opencode's rows have at most 14.
const MEMBERS: usize = 24;

/// The same for an object within.
const INNER: usize = 12;

/// Deepest nesting that is skimmed.
const DEEPEST: u32 = 64;

/// Why a skim ended.
enum Stop {
    /// The text ends here.
    End,
    /// Something that is not expected.
    Odd,
}

type Skim<T> = Result<T, Stop>;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The members of an object: names without escapes, and raw values.
struct Members<'a, const N: usize> {
    found: [(&'a [u8], &'a [u8]); N],
    len: usize,
    /// The member in which the text ends, with what is there of its value.
    cut: Option<(&'a [u8], &'a [u8])>,
}

impl<'a, const N: usize> Members<'a, N> {
    fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.found[..self.len].iter().find(|(k, _)| *k == key.as_bytes()).map(|(_, v)| *v)
    }

    /// The member, `null` taken for absent.
    fn some(&self, key: &str) -> Option<&'a [u8]> {
        self.get(key).filter(|raw| *raw != b"null")
    }

    /// Whether the value's first byte is `first`, where it is there at all.
    fn absent_or(&self, key: &str, first: impl Fn(u8) -> bool) -> bool {
        self.some(key).is_none_or(|raw| raw.first().is_some_and(|b| first(*b)))
    }

    fn is(&self, key: &str, first: u8) -> bool {
        self.some(key).is_some_and(|raw| raw.first() == Some(&first))
    }

    fn numbers(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.absent_or(key, |b| b == b'-' || b.is_ascii_digit()))
    }
}

/// A string without escapes; `None` for anything else.
fn plain(raw: &[u8]) -> Option<&str> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') { None } else { std::str::from_utf8(inner).ok() }
}

impl<'a> Cursor<'a> {
    fn peek(&mut self) -> Skim<u8> {
        while let Some(b) = self.bytes.get(self.at) {
            if !matches!(b, b' ' | b'\n' | b'\t' | b'\r') {
                return Ok(*b);
            }
            self.at += 1;
        }
        Err(Stop::End)
    }

    fn expect(&mut self, wanted: u8) -> Skim<()> {
        if self.peek()? == wanted {
            self.at += 1;
            Ok(())
        } else {
            Err(Stop::Odd)
        }
    }

    /// Passes over a string; the cursor stands at its opening quote.
    fn string(&mut self) -> Skim<()> {
        self.at += 1;
        loop {
            self.at += ordinary(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                None => return Err(Stop::End),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => match self.bytes.get(self.at + 1) {
                    None => return Err(Stop::End),
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                    Some(b'u') => {
                        let digits = self.bytes.get(self.at + 2..self.at + 6).ok_or(Stop::End)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(Stop::Odd);
                        }
                        self.at += 6;
                    }
                    Some(_) => return Err(Stop::Odd),
                },
                // A control character.
                Some(_) => return Err(Stop::Odd),
            }
        }
    }

    fn number(&mut self) -> Skim<()> {
        let digits = |this: &mut Self| {
            let from = this.at;
            while this.bytes.get(this.at).is_some_and(u8::is_ascii_digit) {
                this.at += 1;
            }
            this.at - from
        };
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let first = self.bytes.get(self.at).copied();
        let whole = digits(self);
        if whole == 0 || (first == Some(b'0') && whole > 1) {
            return Err(if self.at == self.bytes.len() { Stop::End } else { Stop::Odd });
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if digits(self) == 0 {
                return Err(if self.at == self.bytes.len() { Stop::End } else { Stop::Odd });
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if digits(self) == 0 {
                return Err(if self.at == self.bytes.len() { Stop::End } else { Stop::Odd });
            }
        }
        // A number at the very end may go on in what is not there.
        if self.at == self.bytes.len() { Err(Stop::End) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> Skim<()> {
        let there = &self.bytes[self.at..self.bytes.len().min(self.at + word.len())];
        if there == word {
            self.at += word.len();
            Ok(())
        } else {
            Err(if word.starts_with(there) { Stop::End } else { Stop::Odd })
        }
    }

    /// Passes over an object or array, `item` over what stands between its commas; the cursor stands at its opening.
    fn list(&mut self, closing: u8, mut item: impl FnMut(&mut Self) -> Skim<()>) -> Skim<()> {
        self.at += 1;
        if self.peek()? == closing {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b if b == closing => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::Odd),
            }
        }
    }

    /// Passes over a value.
    fn value(&mut self, depth: u32) -> Skim<()> {
        if depth > DEEPEST {
            return Err(Stop::Odd);
        }
        match self.peek()? {
            b'"' => self.string(),
            b'{' => self.list(b'}', |this| {
                if this.peek()? != b'"' {
                    return Err(Stop::Odd);
                }
                this.string()?;
                this.expect(b':')?;
                this.value(depth + 1)
            }),
            b'[' => self.list(b']', |this| this.value(depth + 1)),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Stop::Odd),
        }
    }

    /// The members of the object at the cursor; to where the text ends, if it does.
    fn members<const N: usize>(&mut self) -> Option<Members<'a, N>> {
        let mut out = Members { found: [(&[], &[]); N], len: 0, cut: None };
        match self.collect(&mut out) {
            Ok(()) => Some(out),
            Err(Stop::End) => Some(out).filter(|_| self.at <= self.bytes.len()),
            Err(Stop::Odd) => None,
        }
    }

    fn collect<const N: usize>(&mut self, out: &mut Members<'a, N>) -> Skim<()> {
        if self.peek()? != b'{' {
            return Err(Stop::Odd);
        }
        self.list(b'}', |this| {
            if this.peek()? != b'"' {
                return Err(Stop::Odd);
            }
            let from = this.at + 1;
            this.string()?;
            let key = &this.bytes[from..this.at - 1];
            if key.contains(&b'\\') || out.len == N || out.found[..out.len].iter().any(|(k, _)| *k == key) {
                return Err(Stop::Odd);
            }
            this.expect(b':')?;
            this.peek()?;
            let from = this.at;
            out.cut = Some((key, &this.bytes[from..]));
            this.value(1)?;
            out.cut = None;
            out.found[out.len] = (key, &this.bytes[from..this.at]);
            out.len += 1;
            Ok(())
        })
    }
}

/// How many bytes at the start are nothing special inside a string: neither quote, backslash nor control.
fn ordinary(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    // Four words at a time, as long as nothing special is among them.
    let marks = |eight: &[u8]| {
        let word = <[u8; 8]>::try_from(eight).map_or(0, u64::from_le_bytes);
        // Borrows may mark bytes after the first that is meant, never before it: the lowest mark is right.
        let zero = |w: u64| w.wrapping_sub(ONES) & !w & HIGH;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control
    };
    while let Some(many) = bytes.get(at..at + 32) {
        if many.chunks_exact(8).fold(0, |all, eight| all | marks(eight)) != 0 {
            break;
        }
        at += 32;
    }
    while let Some(eight) = bytes.get(at..at + 8) {
        let marks = marks(eight);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |b: &u8| *b == b'"' || *b == b'\\' || *b < 0x20;
    at + bytes[at..].iter().position(special).unwrap_or(bytes.len() - at)
}

/// Skims a whole row: its members, if it is an object and nothing else.
fn whole(data: &[u8]) -> Option<Members<'_, MEMBERS>> {
    std::str::from_utf8(data).ok()?;
    let mut cursor = Cursor { bytes: data, at: 0 };
    let mut out = Members { found: [(&[], &[]); MEMBERS], len: 0, cut: None };
    cursor.collect(&mut out).ok()?;
    // Nothing but white space may follow.
    matches!(cursor.peek(), Err(Stop::End)).then_some(out)
}

fn inner(raw: &[u8]) -> Option<Members<'_, INNER>> {
    Cursor { bytes: raw, at: 0 }.members()
}

fn model<'a, const N: usize>(of: &Members<'a, N>) -> Option<(&'a str, &'a str)> {
    Some((plain(of.some("providerID")?)?, plain(of.some("modelID")?)?))
}

/// Whether `tokens`, where they are there, are numbers as the parser wants them.
fn tokens_fit<const N: usize>(members: &Members<'_, N>) -> Option<()> {
    let Some(raw) = members.some("tokens") else { return Some(()) };
    let tokens = inner(raw)?;
    let cache = match tokens.some("cache") {
        None => true,
        Some(raw) => inner(raw)?.numbers(&["read", "write"]),
    };
    (cache && tokens.numbers(&["total", "input", "output", "reasoning"])).then_some(())
}

/// What a sweep asks of a part whose JSON is `data`. `None`: the parser has to tell.
#[must_use]
pub fn part_fact(data: &[u8]) -> Option<PartFact> {
    let members = whole(data)?;
    match plain(members.get("type")?)? {
        "text" => {
            let text = members.get("text").filter(|raw| raw.starts_with(b"\""))?;
            let text = std::str::from_utf8(text).ok()?;
            let visible = text.as_bytes().get(1).is_some_and(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"'));
            let blank = !visible && json::string(text).is_some_and(|t| json::is_blank(&t));
            (!leaked::perhaps(text)).then(|| PartFact::text(text == "\"\"", blank))
        }
        "reasoning" => {
            (members.is("text", b'"') && members.absent_or("metadata", |b| b == b'{')).then_some(PartFact::THINKS)
        }
        "step-finish" => {
            tokens_fit(&members)?;
            members.numbers(&["cost"]).then_some(PartFact::QUIET)
        }
        "file" => {
            // An image's facts are in its bytes.
            let mime = plain(members.some("mime")?)?;
            (!mime.starts_with("image/") && mime != "application/pdf").then_some(PartFact::SPEAKS)
        }
        "compaction" => members.absent_or("tail_start_id", |b| b == b'"').then_some(PartFact::QUIET),
        "tool" => {
            if !members.is("tool", b'"') {
                return None;
            }
            let id = plain(members.some("callID")?)?;
            if members.some("metadata").is_some_and(|raw| memmem::find(raw, PROVIDER_EXECUTED).is_some()) {
                return None;
            }
            let state = inner(members.some("state")?)?;
            match plain(state.get("status")?)? {
                "completed" => {
                    (state.some("attachments").is_none() && state.is("time", b'{')).then(|| PartFact::tool(id))
                }
                _ => None,
            }
        }
        "step-start" => Some(PartFact { end: End::Start, ..PartFact::QUIET }),
        _ => Some(PartFact::QUIET),
    }
}

/// What the start of a part tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// What a sweep asks of it, a call's [`BEHIND_OUTPUT`] aside.
    pub fact: PartFact,
    /// Whether the rest has to be searched for those.
    pub behind: bool,
}

impl Started {
    fn quiet() -> Self {
        Self { fact: PartFact::QUIET, behind: false }
    }
}

/// Tools of opencode whose results are text alone. Read in 1.2.1, 1.3.0, 1.14.48 and 1.18.34.
const TEXT_ALONE: [&str; 17] = [
    "apply_patch",
    "bash",
    "codesearch",
    "edit",
    "glob",
    "grep",
    "list",
    "lsp",
    "multiedit",
    "patch",
    "question",
    "skill",
    "task",
    "todoread",
    "todowrite",
    "websearch",
    "write",
];

/// Whether a finished call may carry what stands behind its output: files, or the mark of a provider that ran it.
fn carries(tool: &str, state: &Members<'_, INNER>) -> bool {
    if TEXT_ALONE.contains(&tool) {
        return false;
    }
    if !["read", "webfetch"].contains(&tool) {
        return true;
    }
    // These two say "Image read successfully", "PDF read successfully" or "Image fetched successfully" with a file.
    let output = state.get("output").or(state.cut.filter(|(key, _)| *key == b"output").map(|(_, rest)| rest));
    output.is_none_or(|text| text.len() < 8 || text.starts_with(b"\"Image ") || text.starts_with(b"\"PDF "))
}

/// What a sweep asks of a part of whose JSON only the start is given. `None`: the row has to be read.
#[must_use]
pub fn part_fact_of_start(data: &[u8]) -> Option<Started> {
    let members: Members<'_, MEMBERS> = Cursor { bytes: data, at: 0 }.members()?;
    let (cut, rest) = members.cut?;
    match plain(members.get("type")?)? {
        "reasoning" => {
            let thinks = Started { fact: PartFact::THINKS, behind: false };
            (cut == b"text" || members.is("text", b'"')).then_some(thinks)
        }
        "tool" => {
            let tool = members.some("tool").filter(|raw| raw.starts_with(b"\""))?;
            let id = plain(members.some("callID")?)?;
            let state = match members.some("state") {
                Some(raw) => inner(raw)?,
                None if cut == b"state" => inner(rest)?,
                None => return None,
            };
            let behind = plain(tool).is_none_or(|tool| carries(tool, &state));
            (plain(state.get("status")?)? == "completed").then(|| Started { fact: PartFact::tool(id), behind })
        }
        // Texts are small, and a call may have leaked anywhere in them.
        "text" | "file" | "step-finish" | "compaction" => None,
        _ => Some(Started::quiet()),
    }
}

/// What a sweep asks of a message whose JSON is `data`. `None`: the parser has to tell, as with every error.
#[must_use]
pub fn message_fact(data: &[u8]) -> Option<MessageFact<'_>> {
    let members = whole(data)?;
    let created = created(&members)?;
    let role = match plain(members.get("role")?)? {
        "user" => {
            string(&members, "agent")?;
            RoleFact::User(match members.some("model") {
                None => None,
                Some(raw) => Some(model(&inner(raw)?)?),
            })
        }
        "assistant" => {
            string(&members, "agent")?;
            model(&members)?;
            if members.get("error").is_some_and(|raw| std::str::from_utf8(raw).map_or(true, truthy)) {
                return None;
            }
            tokens_fit(&members)?;
            if !members.numbers(&["cost"]) {
                return None;
            }
            RoleFact::Assistant {
                parent: string(&members, "parentID")?,
                finish: string(&members, "finish")?.filter(|f| !f.is_empty()),
                summary: members.get("summary").is_some_and(|raw| std::str::from_utf8(raw).is_ok_and(truthy)),
            }
        }
        _ => return None,
    };
    Some(MessageFact { created, role })
}

/// What a sweep asks of a message of whose JSON only the start is given. `None`: the row has to be read.
///
/// What makes a message large is the `summary` of a prompt, which holds all that its turn has changed: rows of
/// hundreds of megabytes were reported (docs/performance.md). opencode writes it behind everything that is asked for.
#[must_use]
pub fn message_fact_of_start(data: &[u8]) -> Option<MessageFact<'_>> {
    let members: Members<'_, MEMBERS> = Cursor { bytes: data, at: 0 }.members()?;
    if members.cut?.0 != b"summary" || plain(members.get("role")?)? != "user" {
        return None;
    }
    string(&members, "agent")?;
    let role = RoleFact::User(Some(model(&inner(members.some("model")?)?)?));
    Some(MessageFact { created: created(&members)?, role })
}

/// The `id` and `messageID` of an object that is the member of a JSON text, of which only the start is given.
#[must_use]
pub fn ids_at_start<'a>(data: &'a [u8], member: &str) -> Option<(&'a str, Option<&'a str>)> {
    let members: Members<'_, INNER> = Cursor { bytes: data, at: 0 }.members()?;
    let within = members.cut.filter(|(name, _)| *name == member.as_bytes()).map(|(_, rest)| rest);
    let object = inner(members.some(member).or(within)?)?;
    Some((plain(object.some("id")?)?, string(&object, "messageID")?))
}

/// `time.created`.
fn created<const N: usize>(members: &Members<'_, N>) -> Option<f64> {
    let time = inner(members.some("time")?)?;
    std::str::from_utf8(time.some("created")?).ok()?.parse().ok()
}

/// A member that is a string without escapes, or absent; `None` for anything else.
fn string<'a, const N: usize>(members: &Members<'a, N>, key: &str) -> Option<Option<&'a str>> {
    match members.some(key) {
        None => Some(None),
        Some(raw) => plain(raw).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::{self, MessageRow, Role};

    fn parsed_part(data: &str) -> Result<PartFact, crate::json::ShapeError> {
        history::part("prt_1", 0, data).map(|part| PartFact::of(&part.kind))
    }

    fn parsed_message(data: &str) -> Result<history::Message, crate::json::ShapeError> {
        let row = MessageRow { rowid: 1, id: "m".into(), session_id: "s".into(), time_created: 1, time_updated: 1 };
        history::message(row, data)
    }

    /// Values that rows hold, and values that only look like them.
    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
            Just("\"\"".to_owned()),
            Just("0".to_owned()),
            Just("-1.5e3".to_owned()),
            Just("01".to_owned()),
            Just("1e400".to_owned()),
            Just("nul".to_owned()),
            Just("\"tool\"".to_owned()),
            Just("\"\\ud800 \\u0041\"".to_owned()),
            Just("\"\\q\"".to_owned()),
            Just("\"\\\"type\\\":\\\"tool\\\"\"".to_owned()),
            Just("\"to invoke\"".to_owned()),
            Just("\"<invoke name=\\\"x\\\">\"".to_owned()),
            Just("\"line\u{7}\"".to_owned()),
            Just("\"caf\u{e9}\"".to_owned()),
            "[a-z]{0,40}".prop_map(|s| format!("\"{s}\"")),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))),
                proptest::collection::vec((key(), inner), 0..4).prop_map(|m| object(&m)),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        proptest::sample::select(vec![
            "type",
            "text",
            "tool",
            "callID",
            "state",
            "status",
            "metadata",
            "interrupted",
            "time",
            "created",
            "role",
            "model",
            "providerID",
            "modelID",
            "finish",
            "parentID",
            "error",
            "summary",
            "tokens",
            "cache",
            "cost",
            "mime",
            "attachments",
            "agent",
            "t\\u0079pe",
            "x",
        ])
        .prop_map(str::to_owned)
    }

    fn object(members: &[(String, String)]) -> String {
        let inner: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        format!("{{{}}}", inner.join(","))
    }

    /// Members that make a row of some kind, in any order, with strange ones among them.
    fn row() -> impl Strategy<Value = String> {
        let of = |members: &[(&str, &str)]| -> Vec<(String, String)> {
            members.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let tool =
            |state: &str| of(&[("type", "\"tool\""), ("tool", "\"bash\""), ("callID", "\"c\""), ("state", state)]);
        let kinds = vec![
            of(&[("type", "\"text\""), ("text", "\"words\"")]),
            of(&[("type", "\"reasoning\""), ("text", "\"words\""), ("metadata", "{}")]),
            of(&[("type", "\"step-finish\""), ("cost", "0.5"), ("tokens", "{\"input\":1,\"cache\":{\"read\":2}}")]),
            of(&[("type", "\"file\""), ("mime", "\"image/png\"")]),
            of(&[("type", "\"compaction\"")]),
            tool("{\"status\":\"completed\",\"input\":{},\"output\":\"status\",\"time\":{\"start\":1}}"),
            tool("{\"input\":{\"status\":\"error\"},\"status\":\"completed\",\"time\":{}}"),
            tool("{\"status\":\"error\",\"metadata\":{\"interrupted\":true}}"),
            tool("{\"status\":\"running\"}"),
            of(&[
                ("role", "\"user\""),
                ("time", "{\"created\":5}"),
                ("model", "{\"providerID\":\"p\",\"modelID\":\"m\"}"),
            ]),
            of(&[
                ("role", "\"user\""),
                ("time", "{\"created\":5}"),
                ("model", "{\"providerID\":\"p\",\"modelID\":\"m\"}"),
                ("summary", &format!("{{\"diffs\":[{{\"patch\":\"{}\"}}]}}", "\\n+ \\\"model\\\":".repeat(40))),
            ]),
            of(&[
                ("role", "\"assistant\""),
                ("time", "{\"created\":5.5}"),
                ("providerID", "\"p\""),
                ("modelID", "\"m\""),
                ("parentID", "\"u\""),
                ("finish", "\"stop\""),
            ]),
        ];
        let strange = proptest::collection::vec((key(), value()), 0..3);
        let pad = prop_oneof![Just(0usize), Just(700usize)];
        (proptest::sample::select(kinds), strange, pad, prop_oneof![Just(""), Just(" \n")])
            .prop_map(|(mut members, strange, pad, space)| {
                members.extend(strange);
                members.push(("pad".to_owned(), format!("\"{}\"", "\\\"state\\\":{".repeat(pad / 8))));
                (members, space)
            })
            .prop_flat_map(|(members, space)| (Just(members).prop_shuffle(), Just(space)))
            .prop_map(|(members, space)| format!("{space}{}{space}", object(&members)))
    }

    /// Whether a member stands twice.
    fn twice(text: &str) -> bool {
        crate::json::Object::parse(text).is_ok_and(|o| {
            let names: Vec<_> = o.members().map(|(k, _)| k.to_owned()).collect();
            (1..names.len()).any(|at| names[..at].contains(&names[at]))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

        #[test]
        fn a_skim_that_answers_agrees_with_the_parser(text in row(), cut in 0usize..2_000) {
            for text in [text.as_str(), &text[..text.floor_char_boundary(cut)]] {
                if let Some(fact) = part_fact(text.as_bytes()) {
                    prop_assert_eq!(parsed_part(text), Ok(fact));
                }
                if let Some(fact) = message_fact(text.as_bytes()) {
                    let message = parsed_message(text);
                    prop_assert!(message.is_ok(), "{:?}", message.map(|_| ()));
                    let Ok(message) = message else { continue };
                    prop_assert_eq!(fact.created.to_bits(), message.created.to_bits());
                    match (fact.role, message.role) {
                        (RoleFact::User(fact), Role::User(user)) => {
                            let model = user.model.as_ref().map(|m| (m.provider.as_str(), m.model.as_str()));
                            prop_assert_eq!(fact, model);
                        }
                        (RoleFact::Assistant { parent, finish, summary }, Role::Assistant(a)) => {
                            prop_assert_eq!(parent, a.parent_id.as_deref());
                            prop_assert_eq!(finish, a.finish.as_deref());
                            prop_assert_eq!(summary, a.summary);
                            prop_assert!(a.error.is_none());
                        }
                        (fact, role) => prop_assert!(false, "{fact:?} {role:?}"),
                    }
                }
            }
        }

        #[test]
        fn the_start_of_a_prompt_tells_what_the_whole_does(text in row(), cut in 1usize..2_000) {
            if let (Ok(whole), false) = (parsed_message(&text), twice(&text))
                && let Some(fact) = message_fact_of_start(&text.as_bytes()[..cut.min(text.len() - 1)])
            {
                prop_assert_eq!(fact.created.to_bits(), whole.created.to_bits());
                let model = whole.user().and_then(|u| u.model.as_ref());
                let model = model.map(|m| (m.provider.as_str(), m.model.as_str()));
                prop_assert_eq!(fact.role, RoleFact::User(model));
            }
        }

        #[test]
        fn the_start_of_a_sound_row_tells_what_the_whole_does(text in row(), cut in 1usize..2_000) {
            // What comes after the start is taken to be as opencode writes it: sound, and no member twice.
            if let (Ok(whole), false) = (parsed_part(&text), twice(&text)) {
                let start = &text.as_bytes()[..cut.min(text.len() - 1)];
                if let Some(Started { fact, behind }) = part_fact_of_start(start) {
                    prop_assert_eq!((fact.kind, fact.call), (whole.kind, whole.call));
                    let named = text.contains("attachments") || text.contains("providerExecuted");
                    // A `bash` carries nothing behind its output where opencode has written it.
                    prop_assert!(named && (behind || text.contains("bash")) || fact == whole, "{fact:?} {whole:?}");
                }
            }
        }
    }

    #[test]
    fn what_stands_behind_an_output_is_searched_for_where_a_tool_may_have_put_it() {
        let behind = |tool: &str, output: &str| {
            let text = format!(
                r#"{{"type":"tool","tool":"{tool}","callID":"c","state":{{"status":"completed","input":{{}},"output":"{output}{}"#,
                "x".repeat(900)
            );
            part_fact_of_start(&text.as_bytes()[..512]).map(|start| start.behind)
        };
        assert_eq!(behind("bash", "Image read successfully"), Some(false));
        assert_eq!(behind("read", "<path>/a</path>"), Some(false));
        assert_eq!(behind("read", "Image read successfully\",\"metadata\":{\"preview\":\""), Some(true));
        assert_eq!(behind("read", "PDF read successfully\",\"metadata\":{\"preview\":\""), Some(true));
        assert_eq!(behind("webfetch", "Image fetched successfully\",\"metadata\":{\"x\":\""), Some(true));
        assert_eq!(behind("webfetch", "# A page"), Some(false));
        assert_eq!(behind("browser_screenshot", "Taken."), Some(true), "nobody knows what it returns");
        assert_eq!(behind("read", &"\\n".repeat(3)), Some(false));
        let unseen = format!(
            r#"{{"type":"tool","tool":"read","callID":"c","state":{{"status":"completed","input":{{"p":"{}"#,
            "x".repeat(900)
        );
        assert_eq!(part_fact_of_start(&unseen.as_bytes()[..512]).map(|start| start.behind), Some(true));
    }

    #[test]
    fn a_prompt_with_a_long_summary_is_known_by_its_start() {
        let row = |end: &str| {
            format!(
                r#"{{"role":"user","time":{{"created":7}},"agent":"build","model":{{"providerID":"p","modelID":"m"}}{end}"#
            )
        };
        let summary = format!(r#","summary":{{"diffs":[{{"file":"a","patch":"{}"#, "x".repeat(900));
        let long = row(&summary);
        let fact = MessageFact { created: 7.0, role: RoleFact::User(Some(("p", "m"))) };
        assert_eq!(message_fact_of_start(&long.as_bytes()[..512]), Some(fact));
        // Members may stand behind any other that is cut off.
        let other = row(&format!(r#","system":"{}"#, "x".repeat(900)));
        assert_eq!(message_fact_of_start(&other.as_bytes()[..512]), None);
        let early = format!(r#"{{"role":"user","time":{{"created":7}}{summary}"#);
        assert_eq!(message_fact_of_start(&early.as_bytes()[..512]), None, "its model was not seen");
        let answer = long.replace("user", "assistant");
        assert_eq!(message_fact_of_start(&answer.as_bytes()[..512]), None);
    }

    #[test]
    fn what_opencode_writes_is_answered_without_the_parser() {
        let tool = |status: &str| {
            format!(
                r#"{{"type":"tool","tool":"bash","callID":"c","state":{{"status":"{status}","input":{{}},"output":"{}","time":{{"start":1}}}}}}"#,
                "x".repeat(9_000)
            )
        };
        let quiet = Some(Started { fact: PartFact::tool("c"), behind: false });
        assert_eq!(part_fact_of_start(&tool("completed").as_bytes()[..512]), quiet);
        assert_eq!(part_fact_of_start(&tool("error").as_bytes()[..512]), None, "the flag stands at the end");
        assert_eq!(part_fact(tool("completed").as_bytes()), Some(PartFact::tool("c")));
        let answer = br#"{"parentID":"u","role":"assistant","agent":"build","path":{"cwd":"/"},"cost":0,"tokens":{"input":1,"cache":{"read":0}},"modelID":"m","providerID":"p","time":{"created":1},"finish":"stop"}"#;
        assert!(message_fact(answer).is_some());
        assert!(
            message_fact(
                br#"{"role":"user","time":{"created":1},"agent":"build","model":{"providerID":"p","modelID":"m"}}"#
            )
            .is_some()
        );
    }
}
