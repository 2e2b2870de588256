//! Writes a store of any size whose rows look like opencode's, the same for the same seed.
//!
//! `cargo bench --bench generate -- FILE [--mib N] [--seed N] [--scale N] [--shape SHAPE] [--faulty PERCENT]`, SHAPE being
//! `mixed`, `worn`, `openai`, `v2`, `logged`, `one-session`, `one-message`, `one-part`, `one-prompt` or `many-rows`
//!
//! Tables come from the store of 1.18.33 in `fixtures`. Sizes of tool results are lognormal; `--scale` multiplies
//! them, so that stores of equal size can have different numbers of rows. What the store holds is printed as JSON.
//!
//! `mixed` holds messages and parts alone. `logged` has an event log as well and prompts that list what their turn has
//! changed, in the proportions that people have reported (docs/performance.md, "Stores as reported"). `worn` is what streams
//! that often break leave: `--faulty` percent of the sessions (25 unless said) hold a cut-off call and the refusal that it led
//! to; sessions are long and short, forked and compacted. In `openai` nearly every thought has an item id and a kilobyte of
//! encrypted content. `v2` holds sessions of opencode 2 alone, in the tables of the store in `fixtures/stores2`.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The time of the first row, in ms since the epoch.
const EPOCH: i64 = 1_780_000_000_000;

/// Median size of a tool's result in bytes, and the spread of its logarithm.
const OUTPUT: (f64, f64) = (2_800.0, 1.6);

/// Median size of what a turn has changed in bytes, and the spread of its logarithm: one in some 2,000 has megabytes.
const CHANGES: (f64, f64) = (3_000.0, 2.1);

/// opencode cuts outputs off here, in bytes; a few results are larger all the same.
const LONGEST: usize = 50 << 10;

const WORDS: [&str; 24] = [
    "fn ",
    "let ",
    "value",
    "self",
    ".map(",
    "return ",
    "if ",
    "else ",
    "path",
    "::new(",
    ") {\\n",
    "}\\n",
    "// ",
    "the ",
    "store",
    " = ",
    "\\\"text\\\"",
    ";\\n    ",
    "error",
    "&str",
    "Vec<",
    ">",
    " -> ",
    "0x1f",
];

fn main() -> Result<()> {
    let args = Args::parse(std::env::args().skip(1).filter(|a| a != "--bench"))?;
    let Some(file) = &args.file else { return Ok(()) };
    let source = if args.shape == "v2" { "stores2/imported-1.18.33" } else { "stores/1.18.33" };
    let mut store = Writer::create(file, source, args.seed, args.scale)?;
    match args.shape.as_str() {
        "mixed" => store.mixed(args.mib << 20)?,
        "worn" => {
            store.faulty = Some(args.faulty);
            store.mixed(args.mib << 20)?;
        }
        "v2" => store.second(args.mib << 20)?,
        "openai" => {
            store.openai = true;
            store.mixed(args.mib << 20)?;
        }
        "logged" => {
            store.logged = true;
            store.mixed(args.mib << 20)?;
        }
        "one-prompt" => {
            store.logged = true;
            store.one_prompt(200 << 20)?;
        }
        "one-session" => store.one_session(200_000)?,
        "one-message" => store.one_message(300_000)?,
        "one-part" => store.one_part(200 << 20)?,
        "many-rows" => store.many_rows(2_500_000)?,
        other => return Err(format!("there is no shape `{other}`").into()),
    }
    let held = store.finish()?;
    writeln!(std::io::stdout(), "{held}")?;
    Ok(())
}

struct Args {
    file: Option<PathBuf>,
    mib: u64,
    seed: u64,
    scale: f64,
    shape: String,
    /// Sessions with a fault, in percent.
    faulty: u64,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut out = Self { file: None, mib: 1024, seed: 1, scale: 1.0, shape: "mixed".to_owned(), faulty: 25 };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--mib" => out.mib = value()?.parse()?,
                "--seed" => out.seed = value()?.parse()?,
                "--scale" => out.scale = value()?.parse()?,
                "--shape" => out.shape = value()?,
                "--faulty" => out.faulty = value()?.parse()?,
                _ => out.file = Some(arg.into()),
            }
        }
        Ok(out)
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size; the cast saturates")]
    fn lognormal(&mut self, (median, spread): (f64, f64)) -> usize {
        let normal = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (median * (spread * normal).exp()) as usize
    }
}

/// What a store holds, as a scan must find it.
#[derive(Default)]
struct Held {
    sessions: u64,
    messages: u64,
    parts: u64,
    orphans: u64,
    prefill_400s: u64,
    stuck: u64,
}

/// How a session ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Sound,
    /// A refused request after a finished answer: stuck.
    Refused,
    /// Text and a completed tool in one row: stuck.
    ToolAndText,
    /// An empty prompt: stuck.
    EmptyPrompt,
    /// Aborted while text streamed: stuck.
    AbortedText,
    /// Aborted while a tool ran: sound, for the request ends with the tool's result.
    AbortedTool,
}

struct Writer {
    db: Connection,
    random: Random,
    scale: f64,
    filler: String,
    held: Held,
    now: i64,
    counter: u64,
    written: u64,
    /// Every state of a row is an event as well.
    logged: bool,
    /// Of a worn store, the sessions with a fault, in percent.
    faulty: Option<u64>,
    /// Thoughts carry encrypted content.
    openai: bool,
    /// The number of each session's next event.
    numbers: HashMap<String, i64>,
}

struct Talk {
    id: String,
    model: &'static str,
    prompt: String,
    /// When the prompt was made, in ms since the epoch.
    asked: i64,
    turns_left: u64,
    end: End,
    orphan_in: Option<u64>,
    refused_in: Option<u64>,
    compaction_in: Option<u64>,
}

impl Writer {
    fn provider(&self) -> &'static str {
        if self.openai { "openai" } else { "anthropic" }
    }

    fn create(file: &Path, source: &str, seed: u64, scale: f64) -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(source).join("opencode.db");
        let uri = format!("file:{}?mode=ro&immutable=1", source.display());
        let fixture = Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
        let db = Connection::open(file)?;
        db.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000; BEGIN")?;
        let mut schema =
            fixture.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")?;
        for sql in schema.query_map([], |row| row.get::<_, String>(0))? {
            db.execute_batch(&sql?)?;
        }
        let mut migrations = fixture.prepare("SELECT id, time_completed FROM migration")?;
        for row in migrations.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))? {
            db.execute("INSERT INTO migration VALUES (?1, ?2)", row?)?;
        }
        db.execute(
            "INSERT INTO project (id, worktree, vcs, time_created, time_updated, sandboxes) VALUES ('prj', '/home/dev/work', 'git', ?1, ?1, '[]')",
            [EPOCH],
        )?;
        let mut random = Random(seed);
        let mut filler = String::with_capacity(5 << 20);
        while filler.len() < 4 << 20 {
            filler.push_str(WORDS[usize::try_from(random.below(24))?]);
        }
        Ok(Self {
            db,
            random,
            scale,
            filler,
            held: Held::default(),
            now: EPOCH,
            counter: 0,
            written: 0,
            logged: false,
            faulty: None,
            openai: false,
            numbers: HashMap::new(),
        })
    }

    fn finish(self) -> Result<String> {
        let Held { sessions, messages, parts, orphans, prefill_400s, stuck } = self.held;
        self.db.execute_batch("COMMIT; PRAGMA journal_mode=WAL; PRAGMA wal_checkpoint(TRUNCATE)")?;
        let bytes: i64 =
            self.db.query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |r| {
                r.get(0)
            })?;
        Ok(format!(
            r#"{{"sessions":{sessions},"messages":{messages},"parts":{parts},"orphans":{orphans},"prefill_400s":{prefill_400s},"stuck":{stuck},"bytes":{bytes}}}"#
        ))
    }

    fn id(&mut self, prefix: &str) -> String {
        const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.counter += 1;
        let stamp = (self.now.unsigned_abs() * 4096 + self.counter % 4096) & 0xffff_ffff_ffff;
        let stamp = if prefix == "ses" { !stamp & 0xffff_ffff_ffff } else { stamp };
        let mut out = format!("{prefix}_{stamp:012x}");
        for _ in 0..14 {
            out.push(char::from(BASE62[(self.random.next() % 62) as usize]));
        }
        out
    }

    fn tick(&mut self, ms: u64) {
        self.now += 1 + self.random.below(ms).cast_signed();
        self.counter = 0;
    }

    /// Escaped text of about the size.
    fn text(&mut self, bytes: usize) -> String {
        let mut out = String::with_capacity(bytes + 8);
        while out.len() < bytes {
            let mut from = usize::try_from(self.random.below(3 << 20)).unwrap_or(0);
            if self.filler[..from].ends_with('\\') {
                from += 1;
            }
            let take = (bytes - out.len()).min(1 << 20);
            out.push_str(&self.filler[from..from + take]);
            let slashes = out.len() - out.trim_end_matches('\\').len();
            if slashes % 2 == 1 {
                out.push('n');
            }
        }
        out
    }

    fn session(&mut self, version: &str) -> Result<String> {
        self.tick(60_000);
        let id = self.id("ses");
        self.db
            .prepare_cached(
                "INSERT INTO session (id, project_id, slug, directory, title, version, time_created, time_updated)
                 VALUES (?1, 'prj', 'mighty-wolf', '/home/dev/work', ?2, ?3, ?4, ?4)",
            )?
            .execute(params![id, format!("Session {}", self.held.sessions), version, self.now])?;
        self.held.sessions += 1;
        if self.logged {
            self.db.prepare_cached("INSERT INTO event_sequence (aggregate_id, seq) VALUES (?1, 0)")?.execute([&id])?;
            let data = format!(r#"{{"sessionID":"{id}","info":{{"id":"{id}","slug":"mighty-wolf"}}}}"#);
            self.event(&id, "session.created.1", &data)?;
        }
        Ok(id)
    }

    fn event(&mut self, session: &str, kind: &str, data: &str) -> Result<()> {
        let id = self.id("evt");
        let number = self.numbers.entry(session.to_owned()).or_default();
        self.db
            .prepare_cached("INSERT INTO event (id, aggregate_id, seq, type, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![id, session, *number, kind, data])?;
        *number += 1;
        self.written += data.len() as u64 + data.len() as u64 / 12 + 300;
        Ok(())
    }

    fn message_event(&mut self, session: &str, id: &str, data: &str) -> Result<()> {
        let rest = &data[1..];
        let event = format!(r#"{{"sessionID":"{session}","info":{{"id":"{id}","sessionID":"{session}",{rest}}}"#);
        self.event(session, "message.updated.1", &event)
    }

    fn message(&mut self, session: &str, data: &str) -> Result<String> {
        let id = self.id("msg");
        self.message_as(&id, session, data)?;
        Ok(id)
    }

    fn message_as(&mut self, id: &str, session: &str, data: &str) -> Result<()> {
        self.db
            .prepare_cached("INSERT INTO message VALUES (?1, ?2, ?3, ?3, ?4)")?
            .execute(params![id, session, self.now, data])?;
        self.held.messages += 1;
        self.written += data.len() as u64 + 300;
        if self.logged {
            self.message_event(session, id, data)?;
            self.message_event(session, id, data)?;
        }
        Ok(())
    }

    /// Writes down with the prompt what its turn has changed.
    fn changed(&mut self, talk: &Talk, bytes: usize) -> Result<()> {
        let provider = self.provider();
        let data = format!(
            r#"{{"role":"user","time":{{"created":{}}},"agent":"build","model":{{"providerID":"{provider}","modelID":"{}"}},"summary":{{"diffs":[{{"file":"src/main.rs","patch":"{}","additions":1,"deletions":1,"status":"modified"}}]}}}}"#,
            talk.asked,
            talk.model,
            self.text(bytes)
        );
        self.db.prepare_cached("UPDATE message SET data = ?2, time_updated = ?3 WHERE id = ?1")?.execute(params![
            talk.prompt,
            data,
            self.now
        ])?;
        self.written += data.len() as u64;
        self.message_event(&talk.id, &talk.prompt, &data)?;
        self.message_event(&talk.id, &talk.prompt, &data)
    }

    fn part(&mut self, session: &str, message: &str, data: &str) -> Result<()> {
        let id = self.id("prt");
        self.db
            .prepare_cached("INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)")?
            .execute(params![id, message, session, self.now, data])?;
        self.held.parts += 1;
        // The row's other columns and its places in four indexes.
        self.written += data.len() as u64 + data.len() as u64 / 12 + 330;
        if self.logged {
            let rest = &data[1..];
            let event = format!(
                r#"{{"sessionID":"{session}","part":{{"id":"{id}","sessionID":"{session}","messageID":"{message}",{rest},"time":{}}}"#,
                self.now
            );
            for _ in 0..1 + self.random.below(5) {
                self.event(session, "message.part.updated.1", &event)?;
            }
        }
        Ok(())
    }

    fn user(&mut self, talk: &mut Talk) -> Result<()> {
        let provider = self.provider();
        self.tick(300_000);
        let data = format!(
            r#"{{"role":"user","time":{{"created":{}}},"agent":"build","model":{{"providerID":"{provider}","modelID":"{}"}},"summary":{{"diffs":[]}}}}"#,
            self.now, talk.model
        );
        talk.asked = self.now;
        talk.prompt = self.message(&talk.id, &data)?;
        Ok(())
    }

    fn answer(&mut self, talk: &Talk, rest: &str) -> Result<String> {
        let provider = self.provider();
        self.tick(20_000);
        let (input, output) = (self.random.below(150_000), self.random.below(4_000));
        let data = format!(
            r#"{{"parentID":"{}","role":"assistant","mode":"build","agent":"build","path":{{"cwd":"/home/dev/work","root":"/home/dev/work"}},"cost":0.0{},"tokens":{{"total":{},"input":{input},"output":{output},"reasoning":0,"cache":{{"write":0,"read":0}}}},"modelID":"{}","providerID":"{provider}","time":{{"created":{},"completed":{}}}{rest}}}"#,
            talk.prompt,
            1 + output,
            input + output,
            talk.model,
            self.now,
            self.now + 900
        );
        self.message(&talk.id, &data)
    }

    fn step_start(&mut self, session: &str, message: &str) -> Result<()> {
        self.part(session, message, r#"{"snapshot":"4b825dc642cb6eb9a060e54bf8d69288fbee4904","type":"step-start"}"#)
    }

    fn step_finish(&mut self, session: &str, message: &str, reason: &str) -> Result<()> {
        let data = format!(
            r#"{{"reason":"{reason}","snapshot":"4b825dc642cb6eb9a060e54bf8d69288fbee4904","type":"step-finish","tokens":{{"total":1500,"input":1000,"output":500,"reasoning":0,"cache":{{"write":0,"read":0}}}},"cost":0.012}}"#
        );
        self.part(session, message, &data)
    }

    fn said(&mut self, session: &str, message: &str, median: f64) -> Result<()> {
        let bytes = self.random.lognormal((median, 0.9));
        let data = format!(
            r#"{{"type":"text","text":"Done: {}","time":{{"start":{},"end":{}}}}}"#,
            self.text(bytes),
            self.now,
            self.now + 5
        );
        self.part(session, message, &data)
    }

    fn thought(&mut self, session: &str, message: &str) -> Result<()> {
        if self.openai {
            return self.sealed(session, message);
        }
        let bytes = self.random.lognormal((500.0, 0.8));
        let data = format!(
            r#"{{"type":"reasoning","text":"I {}","time":{{"start":{},"end":{}}},"metadata":{{"anthropic":{{"signature":"{}"}}}}}}"#,
            self.text(bytes),
            self.now,
            self.now + 5,
            "E".repeat(360)
        );
        self.part(session, message, &data)
    }

    /// A thought of which nothing but its encrypted content is stored, more often than not.
    fn sealed(&mut self, session: &str, message: &str) -> Result<()> {
        let summary = if self.random.one_in(4) { self.text(200) } else { String::new() };
        let data = format!(
            r#"{{"type":"reasoning","text":"{summary}","time":{{"start":{},"end":{}}},"metadata":{{"openai":{{"itemId":"rs_{:048x}","reasoningEncryptedContent":"{}"}}}}}}"#,
            self.now,
            self.now + 5,
            self.random.next(),
            "gAAAAABp".repeat(128)
        );
        self.part(session, message, &data)
    }

    fn tool(&mut self, session: &str, message: &str) -> Result<()> {
        let median = OUTPUT.0 * self.scale;
        let longest = if self.random.one_in(500) { 8 << 20 } else { LONGEST };
        let bytes = self.random.lognormal((median, OUTPUT.1)).min(longest);
        let output = self.text(bytes);
        // Half of the tools keep their output a second time, in the metadata.
        let again = if self.random.one_in(2) { &output[..0] } else { output.as_str() };
        let input = self.random.lognormal((120.0, 1.2));
        let data = format!(
            r#"{{"type":"tool","tool":"bash","callID":"toolu_{:020}","state":{{"status":"completed","input":{{"command":"{}","description":"run it"}},"output":"{output}","metadata":{{"output":"{again}","exit":0,"truncated":false}},"title":"run it","time":{{"start":{},"end":{}}}}}}}"#,
            self.random.next(),
            self.text(input),
            self.now,
            self.now + 70
        );
        self.part(session, message, &data)
    }

    fn cut_off(&mut self, session: &str, message: &str) -> Result<()> {
        let data = format!(
            r#"{{"type":"tool","tool":"bash","callID":"toolu_{:020}","state":{{"status":"error","input":{{"command":"{}"}},"error":"Tool execution aborted","metadata":{{"interrupted":true}},"time":{{"start":{},"end":{}}}}}}}"#,
            self.random.next(),
            self.text(200),
            self.now,
            self.now
        );
        self.held.orphans += 1;
        self.part(session, message, &data)
    }

    fn aborted(&mut self, talk: &Talk) -> Result<String> {
        self.answer(talk, r#","error":{"name":"MessageAbortedError","data":{"message":"The operation was aborted."}}"#)
    }

    fn refused(&mut self, talk: &Talk) -> Result<()> {
        self.held.prefill_400s += 1;
        self.answer(
            talk,
            r#","error":{"name":"APIError","data":{"message":"This model does not support assistant message prefill. The conversation must end with a user message.","statusCode":400,"isRetryable":false,"responseHeaders":{"content-type":"application/json"},"responseBody":"{\"type\":\"error\"}"}}"#,
        )?;
        Ok(())
    }

    fn turn(&mut self, talk: &mut Talk) -> Result<()> {
        let session = talk.id.clone();
        self.user(talk)?;
        let prompt = talk.prompt.clone();
        self.said(&session, &prompt, 300.0)?;
        for _ in 0..self.random.below(8) {
            let row = self.answer(talk, r#","finish":"tool-calls""#)?;
            self.step_start(&session, &row)?;
            if self.openai || self.random.one_in(3) {
                self.thought(&session, &row)?;
            }
            if self.random.one_in(2) {
                self.said(&session, &row, 150.0)?;
            }
            for _ in 0..1 + self.random.below(2) {
                self.tool(&session, &row)?;
            }
            self.step_finish(&session, &row, "tool-calls")?;
            if self.random.one_in(4) {
                self.part(&session, &row, r#"{"type":"patch","hash":"4b825dc642cb6eb9a060e54bf8d69288fbee4904","files":["/home/dev/work/src/main.rs"]}"#)?;
            }
        }
        let left = talk.turns_left;
        if talk.orphan_in == Some(left) {
            // Aborted while a tool ran; the next prompt goes on.
            let row = self.aborted(talk)?;
            self.step_start(&session, &row)?;
            self.cut_off(&session, &row)?;
            if self.faulty.is_some() {
                // What was said behind it ended the next request, which was refused: a revert would make it end there again.
                self.said(&session, &row, 300.0)?;
                self.refused(talk)?;
            }
            return Ok(());
        }
        let row = self.answer(talk, r#","finish":"stop""#)?;
        self.step_start(&session, &row)?;
        self.said(&session, &row, 900.0)?;
        self.step_finish(&session, &row, "stop")?;
        if self.logged {
            let bytes = self.random.lognormal(CHANGES);
            self.changed(talk, bytes)?;
        }
        if talk.refused_in == Some(left) {
            self.refused(talk)?;
        }
        if talk.compaction_in == Some(left) {
            self.user(talk)?;
            let prompt = talk.prompt.clone();
            self.part(&session, &prompt, r#"{"type":"compaction","auto":true}"#)?;
            let row = self.answer(talk, r#","finish":"stop","summary":true"#)?;
            self.step_start(&session, &row)?;
            self.said(&session, &row, 4_000.0)?;
            self.step_finish(&session, &row, "stop")?;
        }
        Ok(())
    }

    fn end(&mut self, talk: &mut Talk) -> Result<()> {
        let session = talk.id.clone();
        if talk.end != End::Sound && talk.end != End::AbortedTool && talk.model == "claude-opus-4-6" {
            self.held.stuck += 1;
        }
        match talk.end {
            End::Sound => {}
            End::Refused => self.refused(talk)?,
            End::EmptyPrompt => self.user(talk)?,
            End::ToolAndText => {
                self.user(talk)?;
                let prompt = talk.prompt.clone();
                self.said(&session, &prompt, 200.0)?;
                let row = self.answer(talk, r#","finish":"stop""#)?;
                self.step_start(&session, &row)?;
                self.tool(&session, &row)?;
                self.step_start(&session, &row)?;
                self.said(&session, &row, 300.0)?;
                self.step_finish(&session, &row, "stop")?;
            }
            End::AbortedText | End::AbortedTool => {
                self.user(talk)?;
                let prompt = talk.prompt.clone();
                self.said(&session, &prompt, 200.0)?;
                let row = self.aborted(talk)?;
                self.step_start(&session, &row)?;
                if talk.end == End::AbortedText {
                    self.said(&session, &row, 300.0)?;
                } else {
                    self.cut_off(&session, &row)?;
                }
            }
        }
        self.db
            .prepare_cached("UPDATE session SET time_updated = ?2 WHERE id = ?1")?
            .execute(params![talk.id, self.now])?;
        if let Some(next) = self.numbers.remove(&talk.id) {
            self.db
                .prepare_cached("UPDATE event_sequence SET seq = ?2 WHERE aggregate_id = ?1")?
                .execute(params![talk.id, next - 1])?;
        }
        Ok(())
    }

    fn begin(&mut self, model: &'static str, turns: u64, end: End) -> Result<Talk> {
        let id = self.session("1.18.33")?;
        Ok(Talk {
            id,
            model,
            prompt: String::new(),
            asked: 0,
            turns_left: turns,
            end,
            orphan_in: None,
            refused_in: None,
            compaction_in: None,
        })
    }

    /// How a session of a worn store goes.
    fn worn(&mut self, percent: u64) -> Result<Talk> {
        let turns = u64::try_from(self.random.lognormal((16.0, 0.9)))?.clamp(2, 400);
        let faulty = self.random.below(100) < percent;
        let end = match self.random.below(320) {
            0 => End::Refused,
            1 => End::ToolAndText,
            2 => End::EmptyPrompt,
            3 => End::AbortedText,
            4..16 => End::AbortedTool,
            _ => End::Sound,
        };
        let mut talk = self.begin("claude-opus-4-6", turns, end)?;
        if faulty {
            talk.orphan_in = Some(1 + self.random.below(turns));
        }
        if turns > 25 && self.random.one_in(4) {
            talk.compaction_in = Some(2 + self.random.below(turns - 2)).filter(|at| talk.orphan_in != Some(*at));
        }
        Ok(talk)
    }

    /// Copies the session's rows under other ids into a session of their own, as a fork does.
    fn fork(&mut self, talk: &Talk) -> Result<()> {
        let copy = self.session("1.18.33")?;
        let rows = |db: &Connection, sql: &str, id: &str| -> rusqlite::Result<Vec<(String, String, i64)>> {
            let mut statement = db.prepare_cached(sql)?;
            let rows = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        let messages = rows(
            &self.db,
            "SELECT id, data, time_created FROM message WHERE session_id = ?1 ORDER BY time_created, id",
            &talk.id,
        )?;
        let (now, mut ids) = (self.now, HashMap::new());
        for (id, data, time) in messages {
            self.now = time;
            let new = self.id("msg");
            let parent = data.strip_prefix(r#"{"parentID":""#).and_then(|rest| ids.get(&rest[..30])).cloned();
            let data = parent.map_or_else(|| data.clone(), |parent: String| data.replacen(&data[13..43], &parent, 1));
            self.message_as(&new, &copy, &data)?;
            self.held.prefill_400s += u64::from(data.contains("assistant message prefill"));
            for (_, data, _) in
                rows(&self.db, "SELECT id, data, time_created FROM part WHERE message_id = ?1 ORDER BY id", &id)?
            {
                self.held.orphans += u64::from(data.contains(r#""interrupted":true"#));
                self.part(&copy, &new, &data)?;
            }
            ids.insert(id, new);
        }
        self.now = now;
        self.db
            .prepare_cached("UPDATE session SET time_updated = ?2 WHERE id = ?1")?
            .execute(params![copy, self.now])?;
        Ok(())
    }

    /// Sessions as people have them, up to three at a time, until the store has about the size.
    fn mixed(&mut self, bytes: u64) -> Result<()> {
        let mut open: Vec<Talk> = Vec::new();
        loop {
            if open.len() < 3 && self.written < bytes {
                if let Some(percent) = self.faulty {
                    let talk = self.worn(percent)?;
                    open.push(talk);
                    continue;
                }
                let turns = 2 + self.random.below(39);
                let model = match self.random.below(10) {
                    _ if self.openai => "gpt-5.2",
                    0 => "gpt-5.2",
                    1 | 2 => "claude-sonnet-4-5",
                    _ => "claude-opus-4-6",
                };
                let end = match self.random.below(400) {
                    0 => End::Refused,
                    1 => End::ToolAndText,
                    2 => End::EmptyPrompt,
                    3 => End::AbortedText,
                    4..16 => End::AbortedTool,
                    _ => End::Sound,
                };
                // A stored refusal would prove that a model refuses which is otherwise not known to.
                let known = model == "claude-opus-4-6";
                let end = if end == End::Refused && !known { End::EmptyPrompt } else { end };
                let mut talk = self.begin(model, turns, end)?;
                let within = |r: &mut Random| Some(2 + r.below(turns));
                talk.orphan_in = if self.random.one_in(10) { within(&mut self.random) } else { None };
                talk.refused_in = if self.random.one_in(60) && known { within(&mut self.random) } else { None };
                talk.compaction_in = if turns > 25 && self.random.one_in(4) { within(&mut self.random) } else { None };
                open.push(talk);
            }
            if open.is_empty() {
                return Ok(());
            }
            let at = usize::try_from(self.random.below(open.len() as u64))?;
            let mut talk = open.swap_remove(at);
            if talk.turns_left == 0 {
                // A fork is made of what was said so far, and goes its own way.
                if self.faulty.is_some() && self.random.one_in(12) {
                    self.fork(&talk)?;
                }
                self.end(&mut talk)?;
                continue;
            }
            self.turn(&mut talk)?;
            talk.turns_left -= 1;
            open.push(talk);
        }
    }

    /// One stuck session with so many parts.
    fn one_session(&mut self, parts: u64) -> Result<()> {
        let mut talk = self.begin("claude-opus-4-6", 0, End::Refused)?;
        while self.held.parts < parts {
            self.turn(&mut talk)?;
        }
        self.end(&mut talk)
    }

    /// One message with so many parts, the last of its session.
    fn one_message(&mut self, parts: u64) -> Result<()> {
        let mut talk = self.begin("claude-opus-4-6", 0, End::Refused)?;
        self.turn(&mut talk)?;
        let session = talk.id.clone();
        self.user(&mut talk)?;
        let row = self.answer(&talk, r#","finish":"stop""#)?;
        while self.held.parts < parts {
            self.tick(10);
            self.step_start(&session, &row)?;
            self.said(&session, &row, 40.0)?;
        }
        self.end(&mut talk)
    }

    /// So many messages with one short part each, in sessions of a hundred, and a stuck one.
    fn many_rows(&mut self, messages: u64) -> Result<()> {
        while self.held.messages < messages {
            let mut talk = self.begin("claude-opus-4-6", 0, End::Sound)?;
            let session = talk.id.clone();
            for _ in 0..50 {
                self.user(&mut talk)?;
                let prompt = talk.prompt.clone();
                self.said(&session, &prompt, 20.0)?;
                let row = self.answer(&talk, r#","finish":"stop""#)?;
                self.said(&session, &row, 40.0)?;
            }
            self.end(&mut talk)?;
        }
        let mut talk = self.begin("claude-opus-4-6", 0, End::Refused)?;
        self.turn(&mut talk)?;
        self.end(&mut talk)
    }

    /// Sessions of opencode 2, an answer's parts in its own row, until the store has about the size.
    fn second(&mut self, bytes: u64) -> Result<()> {
        while self.written < bytes {
            self.tick(60_000);
            let id = self.id("ses");
            self.db
                .prepare_cached(
                    "INSERT INTO session_v2 (id, project_id, slug, directory, title, version, agent, time_created, time_updated)
                     VALUES (?1, 'prj', 'mighty-wolf', '/home/dev/work', ?2, '2.0.26', 'build', ?3, ?3)",
                )?
                .execute(params![id, format!("Session {}", self.held.sessions), self.now])?;
            self.held.sessions += 1;
            let mut seq = 0;
            for _ in 0..2 + self.random.below(39) {
                self.tick(300_000);
                let text = self.text(300);
                let data = format!(r#"{{"text":"{text}","time":{{"created":{}}}}}"#, self.now);
                self.row(&id, "user", &mut seq, &data)?;
                for _ in 0..self.random.below(8) {
                    let content = self.content()?;
                    self.said_second(&id, &mut seq, &content, "tool-calls")?;
                }
                let bytes = self.random.lognormal((900.0, 0.9));
                let content = format!(r#"{{"type":"text","text":"{}"}}"#, self.text(bytes));
                self.said_second(&id, &mut seq, &content, "stop")?;
            }
            self.db
                .prepare_cached("UPDATE session_v2 SET time_updated = ?2 WHERE id = ?1")?
                .execute(params![id, self.now])?;
        }
        Ok(())
    }

    /// What an answer of opencode 2 holds that calls a tool.
    fn content(&mut self) -> Result<String> {
        let mut out = String::new();
        if self.random.one_in(3) {
            let text = self.text(500);
            out.push_str(&format!(
                r#"{{"type":"reasoning","text":"I {text}","state":{{"anthropic":{{"signature":"{}"}}}}}},"#,
                "E".repeat(360)
            ));
        }
        let bytes = self.random.lognormal((OUTPUT.0 * self.scale, OUTPUT.1)).min(LONGEST);
        let (input, output) = (self.text(120), self.text(bytes));
        out.push_str(&format!(
            r#"{{"type":"tool","id":"toolu_{:020}","name":"bash","state":{{"status":"completed","input":{{"command":"{input}","description":"run it"}},"content":[{{"type":"text","text":"{output}"}}],"metadata":{{"exit":0,"truncated":false}}}},"time":{{"created":{},"completed":{}}}}}"#,
            self.random.next(),
            self.now,
            self.now + 70
        ));
        Ok(out)
    }

    fn said_second(&mut self, session: &str, seq: &mut i64, content: &str, finish: &str) -> Result<()> {
        self.tick(20_000);
        let data = format!(
            r#"{{"agent":"build","model":{{"providerID":"anthropic","id":"claude-opus-4-6","variant":"default"}},"content":[{content}],"finish":"{finish}","cost":0.01,"tokens":{{"input":1000,"output":500,"reasoning":0,"cache":{{"read":0,"write":0}}}},"time":{{"created":{},"completed":{}}}}}"#,
            self.now,
            self.now + 900
        );
        self.row(session, "assistant", seq, &data)
    }

    fn row(&mut self, session: &str, kind: &str, seq: &mut i64, data: &str) -> Result<()> {
        let id = self.id("msg");
        self.db
            .prepare_cached("INSERT INTO session_message VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)")?
            .execute(params![id, session, kind, *seq, self.now, data])?;
        *seq += 1;
        self.held.messages += 1;
        self.written += data.len() as u64 + data.len() as u64 / 12 + 400;
        Ok(())
    }

    /// A stuck session with one enormous list of changes at its first prompt, three times in its log.
    fn one_prompt(&mut self, bytes: usize) -> Result<()> {
        let mut talk = self.begin("claude-opus-4-6", 0, End::Refused)?;
        self.turn(&mut talk)?;
        self.changed(&talk, bytes)?;
        self.turn(&mut talk)?;
        self.end(&mut talk)
    }

    /// A stuck session with one enormous tool result in its last answer.
    fn one_part(&mut self, bytes: usize) -> Result<()> {
        let mut talk = self.begin("claude-opus-4-6", 0, End::ToolAndText)?;
        self.turn(&mut talk)?;
        self.scale = f64::from(u32::try_from(bytes)?);
        let session = talk.id.clone();
        self.user(&mut talk)?;
        let row = self.answer(&talk, r#","finish":"tool-calls""#)?;
        self.step_start(&session, &row)?;
        let output = self.text(bytes);
        let data = format!(
            r#"{{"type":"tool","tool":"bash","callID":"toolu_1","state":{{"status":"completed","input":{{}},"output":"{output}","metadata":{{}},"title":"big","time":{{"start":1,"end":2}}}}}}"#
        );
        self.part(&session, &row, &data)?;
        self.step_finish(&session, &row, "tool-calls")?;
        self.scale = 1.0;
        self.end(&mut talk)
    }
}
