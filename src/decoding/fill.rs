//! What may be filled in where a row lacks a member: only what other rows of the session say, and only where they all
//! say the same. An edit changes no byte of a row but the member that it adds.
//!
//! Source of what says what: the run loop gives an answer the agent, the model and the variant of its prompt, and
//! writes the agent's name as `mode` too; `path.cwd` is the session's folder and `path.root` the repository's root, or
//! `/`; a compaction and a subtask have an agent and a model of their own (read in 1.2.27 to 1.18.34; of 606 answers in
//! the fixtures each agrees). No other row tells cost, tokens and times.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{GENERATIONS, Table, Violation, Wrong, violations};
use crate::json::{Object, ShapeError, quote, string};
use crate::plain::{MessageRow, SessionRow};

/// A change that lets rows be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// New JSON for a row of `message`.
    Message {
        /// The row.
        id: String,
        /// The members that were filled in.
        members: Vec<&'static str>,
        /// The column `data`.
        data: String,
    },
    /// A part's id, wherever it stands: its row, `session.revert` ([`rename_in_revert`]), the event log
    /// ([`rename_in_event`]).
    Part {
        /// The id that the program does not take.
        from: String,
        /// The one that it takes.
        to: String,
    },
}

/// Why something is not filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display)]
#[strum(serialize_all = "kebab-case")]
pub enum Why {
    /// No other row says it.
    NothingSaysIt,
    /// Rows say different things.
    TwoCandidates,
    /// The new id is another row's.
    Taken,
    /// The message's parts would come in another order.
    OrderOfParts,
    /// It is a member of a kind that is never filled in, or there is something wrong in its place.
    NotFilledIn,
}

/// A violation that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The row's table.
    pub table: Table,
    /// The row's id.
    pub id: String,
    /// What is wrong with it.
    pub violation: Violation,
    /// Why it stays.
    pub why: Why,
}

/// What can be done about a session's rows, and what cannot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filled {
    /// Messages in replay order, then parts.
    pub edits: Vec<Edit>,
    /// In the order of the rows.
    pub left: Vec<Left>,
}

/// What a message says, or is now known to say.
#[derive(Debug, Default, Clone)]
struct Said {
    user: bool,
    agent: Option<String>,
    mode: Option<String>,
    parent: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    variant: Option<String>,
    path: Option<(String, String)>,
    created: Option<f64>,
    /// It has an agent or a model of its own: a compaction, a subtask, the answer to one.
    own: bool,
}

impl Said {
    fn of(message: &MessageRow) -> Option<Self> {
        let object = Object::parse(&message.data).ok()?;
        let text = |object: &Object<'_>, name: &str| object.get(name).and_then(string);
        let inner = |name: &str| object.get(name).and_then(|raw| Object::parse(raw).ok());
        let user = text(&object, "role")? == "user";
        let model = if user { inner("model") } else { None };
        let model = model.as_ref().unwrap_or(&object);
        let path = inner("path").and_then(|path| Some((text(&path, "cwd")?, text(&path, "root")?)));
        let task = |data: &str| {
            Object::parse(data)
                .ok()
                .and_then(|part| text(&part, "type"))
                .is_some_and(|kind| TASKS.contains(&kind.as_str()))
        };
        Some(Self {
            user,
            agent: text(&object, "agent"),
            mode: text(&object, "mode"),
            parent: text(&object, "parentID"),
            provider: text(model, "providerID"),
            model: text(model, "modelID"),
            variant: text(model, "variant"),
            path,
            created: inner("time").and_then(|time| time.number("created").ok().flatten()),
            own: object.truthy("summary") && !user || message.parts.iter().any(|part| task(&part.data)),
        })
    }
}

const TASKS: [&str; 2] = ["compaction", "subtask"];

/// What all witnesses say, where they agree.
fn agreed<T: PartialEq>(witnesses: impl IntoIterator<Item = T>) -> Result<T, Why> {
    let mut witnesses = witnesses.into_iter();
    let first = witnesses.next().ok_or(Why::NothingSaysIt)?;
    if witnesses.all(|other| other == first) { Ok(first) } else { Err(Why::TwoCandidates) }
}

struct Session<'a> {
    row: &'a SessionRow,
    /// The root of its project, where it is known.
    worktree: Option<&'a str>,
    messages: &'a [MessageRow],
    said: Vec<Option<Said>>,
    /// The messages' places by their ids.
    places: HashMap<&'a str, usize>,
    /// The places of the answers that name a message, by its id.
    answers: HashMap<String, Vec<usize>>,
    /// The folders that answers name.
    paths: HashSet<(String, String)>,
}

impl<'a> Session<'a> {
    fn of(row: &'a SessionRow, messages: &'a [MessageRow], worktree: Option<&'a str>) -> Self {
        let said: Vec<Option<Said>> = messages.iter().map(Said::of).collect();
        let mut answers: HashMap<String, Vec<usize>> = HashMap::new();
        let known = said.iter().enumerate().filter_map(|(at, said)| Some((at, said.as_ref()?)));
        for (at, parent) in known.filter_map(|(at, said)| Some((at, said.parent.clone().filter(|_| !said.user)?))) {
            answers.entry(parent).or_default().push(at);
        }
        let places = messages.iter().enumerate().rev().map(|(at, message)| (message.id.as_str(), at)).collect();
        let paths = said.iter().flatten().filter_map(|said| said.path.clone()).collect();
        Self { row, worktree, messages, said, places, answers, paths }
    }
}

/// What can be filled in so that the newest programs read a session's rows again.
///
/// `messages` are all of its messages, in replay order; `worktree` is its project's, where there is one; `taken` tells
/// whether an id is some part's.
#[must_use]
pub fn fill(row: &SessionRow, messages: &[MessageRow], worktree: Option<&str>, taken: impl Fn(&str) -> bool) -> Filled {
    let generation = GENERATIONS.len() - 1;
    let mut session = Session::of(row, messages, worktree);
    let wrong: Vec<Vec<Violation>> =
        messages.iter().map(|message| violations(Table::Message, &message.id, &message.data, generation)).collect();
    let mut filled: BTreeMap<usize, Vec<(&'static str, String)>> = BTreeMap::new();
    let mut why: BTreeMap<(usize, &'static str), Why> = BTreeMap::new();
    // What one member is told by may itself have been filled in: parents first, then what comes from parents.
    for member in ["parentID", "mode", "agent", "mode", "model", "providerID", "modelID", "path", "agent", "mode"] {
        for at in 0..messages.len() {
            let gap = wrong.get(at).is_some_and(|wrong| wrong.iter().any(|violation| is_gap(violation, member)));
            let done = filled.get(&at).is_some_and(|members| members.iter().any(|(name, _)| *name == member));
            if gap && !done {
                match session.tell(at, member) {
                    Ok(value) => filled.entry(at).or_default().push((member, value)),
                    Err(reason) => {
                        why.insert((at, member), reason);
                    }
                }
            }
        }
    }
    let mut out = Filled::default();
    for (at, (message, wrong)) in messages.iter().zip(wrong).enumerate() {
        let members = filled.remove(&at).unwrap_or_default();
        for violation in wrong.into_iter().filter(|v| !members.iter().any(|(name, _)| is_gap(v, name))) {
            let of_row = why.range((at, "")..).take_while(|((of, _), _)| *of == at);
            let reason = of_row.into_iter().find(|((_, member), _)| is_gap(&violation, member)).map(|(_, why)| *why);
            let why = reason.unwrap_or(Why::NotFilledIn);
            out.left.push(Left { table: Table::Message, id: message.id.clone(), violation, why });
        }
        if let Some(data) = with(&message.data, &members) {
            let members = members.iter().map(|(name, _)| *name).collect();
            out.edits.push(Edit::Message { id: message.id.clone(), members, data });
        }
    }
    for message in messages {
        parts(message, generation, &taken, &mut out);
    }
    out
}

/// Whether a violation says that a member is not there.
fn is_gap(violation: &Violation, member: &str) -> bool {
    violation.member == member && matches!(violation.wrong, Wrong::Missing | Wrong::Null)
}

/// The JSON of a row with members set; `None` where there are none.
fn with(data: &str, members: &[(&'static str, String)]) -> Option<String> {
    let mut out = None;
    for (name, value) in members {
        let text = out.as_deref().unwrap_or(data);
        out = Some(Object::parse(text).ok()?.with(name, value));
    }
    out
}

impl Session<'_> {
    fn said(&self, at: usize) -> Option<&Said> {
        self.said.get(at).and_then(Option::as_ref)
    }

    /// The value of a member as JSON, told by other rows, and noted.
    fn tell(&mut self, at: usize, member: &'static str) -> Result<String, Why> {
        let user = self.said(at).ok_or(Why::NotFilledIn)?.user;
        let own = |value: &Result<String, Why>| value.as_ref().ok().cloned();
        let value = match (member, user) {
            ("parentID", false) => self.parent(at),
            ("agent" | "mode", false) => self.agent(at),
            ("agent", true) => agreed(self.answers(at)?.into_iter().filter_map(|said| said.agent.clone())),
            ("providerID", false) => {
                self.prompts(at).and_then(|prompt| prompt.provider.clone()).ok_or(Why::NothingSaysIt)
            }
            ("modelID", false) => self.prompts(at).and_then(|prompt| prompt.model.clone()).ok_or(Why::NothingSaysIt),
            ("model", true) => return self.model(at),
            ("path", false) => return self.path(at),
            _ => return Err(Why::NotFilledIn),
        };
        let said = self.said.get_mut(at).and_then(Option::as_mut).ok_or(Why::NotFilledIn)?;
        match member {
            "parentID" => {
                said.parent = own(&value);
                if let Some(parent) = own(&value) {
                    self.answers.entry(parent).or_default().push(at);
                }
            }
            "agent" => said.agent = own(&value),
            "mode" => said.mode = own(&value),
            "providerID" => said.provider = own(&value),
            _ => said.model = own(&value),
        }
        value.map(|value| quote(&value))
    }

    /// The prompt right before an answer, where no other answer of that turn names another one.
    fn parent(&self, at: usize) -> Result<String, Why> {
        let is_user = |at: usize| self.said(at).is_some_and(|said| said.user);
        let prompt = (0..at).rev().find(|at| is_user(*at)).ok_or(Why::NothingSaysIt)?;
        let id = self.messages.get(prompt).map(|message| message.id.clone()).ok_or(Why::NothingSaysIt)?;
        let turn = (prompt + 1..self.messages.len()).take_while(|at| !is_user(*at));
        let others = turn.filter(|other| *other != at).filter_map(|other| self.said(other)?.parent.clone());
        let (before, now) = (self.said(prompt).and_then(|s| s.created), self.said(at).and_then(|s| s.created));
        if before.zip(now).is_some_and(|(before, now)| before > now) {
            return Err(Why::TwoCandidates);
        }
        agreed(std::iter::once(id).chain(others))
    }

    /// The prompt that an answer has its agent and model from.
    fn prompts(&self, at: usize) -> Option<&Said> {
        let answer = self.said(at).filter(|said| !said.own)?;
        let parent = answer.parent.as_ref()?;
        let prompt = *self.places.get(parent.as_str())?;
        self.said(prompt).filter(|said| said.user && !said.own)
    }

    /// The answers that have agent and model from a prompt.
    fn answers(&self, at: usize) -> Result<Vec<&Said>, Why> {
        let id = self.messages.get(at).map_or("", |message| message.id.as_str());
        let own = self.said(at).is_some_and(|said| said.own);
        let answers = self.answers.get(id).into_iter().flatten().filter_map(|at| self.said(*at));
        if own { Err(Why::TwoCandidates) } else { Ok(answers.filter(|said| !said.own).collect()) }
    }

    /// An answer's agent: its prompt's, and its mode.
    fn agent(&self, at: usize) -> Result<String, Why> {
        let said = self.said(at).ok_or(Why::NothingSaysIt)?;
        let prompt = self.prompts(at).and_then(|prompt| prompt.agent.clone());
        agreed([prompt, said.mode.clone(), said.agent.clone()].into_iter().flatten())
    }

    /// A prompt's model: that of its answers, with their variant where they have one.
    fn model(&mut self, at: usize) -> Result<String, Why> {
        let answers = self.answers(at)?;
        let models =
            answers.iter().filter_map(|said| Some((said.provider.clone()?, said.model.clone()?, said.variant.clone())));
        let (provider, model, variant) = agreed(models)?;
        let variant_json =
            variant.as_ref().map_or_else(String::new, |variant| format!(",\"variant\":{}", quote(variant)));
        if let Some(said) = self.said.get_mut(at).and_then(Option::as_mut) {
            (said.provider, said.model, said.variant) = (Some(provider.clone()), Some(model.clone()), variant);
        }
        Ok(format!("{{\"providerID\":{},\"modelID\":{}{variant_json}}}", quote(&provider), quote(&model)))
    }

    /// An answer's folder: the session's, with the root that other answers name, or the project's.
    fn path(&self, at: usize) -> Result<String, Why> {
        let cwd = &self.row.directory;
        let root = match self.paths.iter().next() {
            Some((of, root)) if self.paths.len() == 1 && of == cwd => root.clone(),
            Some(_) => return Err(Why::TwoCandidates),
            None if self.row.project_id == "global" => "/".to_owned(),
            None => {
                let inside = |root: &&str| {
                    cwd.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
                };
                self.worktree.filter(inside).ok_or(Why::NothingSaysIt)?.to_owned()
            }
        };
        let _answer = self.said(at).ok_or(Why::NothingSaysIt)?;
        Ok(format!("{{\"cwd\":{},\"root\":{}}}", quote(cwd), quote(&root)))
    }
}

/// New ids for a message's parts, where nothing but the id is wrong with them.
fn parts(message: &MessageRow, generation: usize, taken: &impl Fn(&str) -> bool, out: &mut Filled) {
    let renamed: Vec<String> = message.parts.iter().map(|part| new_id(&part.id)).collect();
    let in_order = renamed.is_sorted_by(|a, b| a < b);
    for (part, new) in message.parts.iter().zip(renamed) {
        for violation in violations(Table::Part, &part.id, &part.data, generation) {
            let why = match violation.member.as_str() {
                "id" if new == part.id => Some(Why::NotFilledIn),
                "id" if taken(&new) => Some(Why::Taken),
                "id" if !in_order => Some(Why::OrderOfParts),
                "id" => None,
                _ => Some(Why::NotFilledIn),
            };
            match why {
                Some(why) => out.left.push(Left { table: Table::Part, id: part.id.clone(), violation, why }),
                None => out.edits.push(Edit::Part { from: part.id.clone(), to: new.clone() }),
            }
        }
    }
}

/// `prt_X` for `part_X`, which other programs have stored; any other id as it is.
fn new_id(id: &str) -> String {
    id.strip_prefix("part_").map_or_else(|| id.to_owned(), |rest| format!("prt_{rest}"))
}

/// `session.revert` with a part's new id; `None` where it does not name the part.
///
/// # Errors
/// Where it is no JSON object.
pub fn rename_in_revert(revert: &str, from: &str, to: &str) -> Result<Option<String>, ShapeError> {
    let object = Object::parse(revert)?;
    let names = object.get("partID").and_then(string).as_deref() == Some(from);
    Ok(names.then(|| object.with("partID", &quote(to))))
}

/// An event's data with a part's new id; `None` where it does not name the part.
///
/// # Errors
/// Where it is no JSON object.
pub fn rename_in_event(kind: &str, data: &str, from: &str, to: &str) -> Result<Option<String>, ShapeError> {
    let object = Object::parse(data)?;
    let is = |object: &Object<'_>, name: &str| object.get(name).and_then(string).as_deref() == Some(from);
    Ok(match kind {
        "message.part.updated.1" => match object.object("part")? {
            Some(part) if is(&part, "id") => Some(object.with("part", &part.with("id", &quote(to)))),
            _ => None,
        },
        "message.part.removed.1" if is(&object, "partID") => Some(object.with("partID", &quote(to))),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::PartRow;

    fn user(id: &str, more: &str) -> MessageRow {
        message(id, &format!(r#"{{"role":"user","time":{{"created":1}}{more}}}"#))
    }

    fn answer(id: &str, more: &str) -> MessageRow {
        message(
            id,
            &format!(
                r#"{{"role":"assistant","time":{{"created":2}},"cost":0,"tokens":{{"input":0,"output":0,"reasoning":0,"cache":{{"read":0,"write":0}}}}{more}}}"#
            ),
        )
    }

    fn message(id: &str, data: &str) -> MessageRow {
        MessageRow { id: id.into(), data: data.into(), ..MessageRow::default() }
    }

    fn part(id: &str) -> PartRow {
        PartRow { id: id.into(), data: r#"{"type":"text","text":"x"}"#.into(), time_created: 0 }
    }

    const ASKED: &str = r#","agent":"build","model":{"providerID":"p","modelID":"m"}"#;
    const REST: &str = r#","modelID":"m","providerID":"p","path":{"cwd":"/w/x","root":"/w"}"#;

    fn filled(messages: &[MessageRow]) -> Filled {
        let row = SessionRow { directory: "/w/x".into(), project_id: "c0ffee".into(), ..SessionRow::default() };
        fill(&row, messages, Some("/w"), |_| false)
    }

    /// What was added to each row.
    type Added = Vec<(String, String)>;

    /// What was added, and why the rest was not.
    fn added(messages: &[MessageRow]) -> (Added, Vec<(String, Why)>) {
        let Filled { edits, left } = filled(messages);
        let edits = edits.into_iter().map(|edit| match edit {
            Edit::Message { id, data, .. } => {
                let old = &messages.iter().find(|message| message.id == id).unwrap().data;
                let start = &old[..old.len() - 1];
                (id, data.strip_prefix(start).unwrap_or(&data).trim_end_matches('}').to_owned())
            }
            Edit::Part { from, to } => (from, to),
        });
        (edits.collect(), left.into_iter().map(|left| (left.violation.member, left.why)).collect())
    }

    #[test]
    fn an_answer_has_what_its_prompt_has() {
        let whole = format!(r#","parentID":"msg_1","mode":"build"{REST}"#);
        let (edits, left) = added(&[user("msg_1", ASKED), answer("msg_2", &whole)]);
        assert_eq!(edits, [("msg_2".into(), r#","agent":"build""#.into())]);
        assert_eq!(left, []);
        let bare = r#","path":{"cwd":"/w/x","root":"/w"}"#;
        let (edits, left) = added(&[user("msg_1", ASKED), answer("msg_2", bare)]);
        let all = r#","parentID":"msg_1","mode":"build","agent":"build","providerID":"p","modelID":"m""#;
        assert_eq!((edits, left), (vec![("msg_2".into(), all.into())], vec![]));
    }

    #[test]
    fn a_prompt_has_what_its_answers_have() {
        let with = |agent: &str, model: &str| {
            answer(
                &format!("msg_{agent}{model}"),
                &format!(
                    r#","parentID":"msg_1","mode":"{agent}","agent":"{agent}","modelID":"{model}","providerID":"p","path":{{"cwd":"/w/x","root":"/w"}}"#
                ),
            )
        };
        let (edits, left) = added(&[user("msg_1", ""), with("plan", "m"), with("plan", "m")]);
        let all = r#","agent":"plan","model":{"providerID":"p","modelID":"m""#;
        assert_eq!((edits, left), (vec![("msg_1".into(), all.into())], vec![]));
        let (edits, left) = added(&[user("msg_1", ""), with("plan", "m"), with("plan", "n")]);
        assert_eq!(edits, [("msg_1".into(), r#","agent":"plan""#.into())]);
        assert_eq!(left, [("model".into(), Why::TwoCandidates)]);
        let (edits, left) = added(&[user("msg_1", "")]);
        assert!(edits.is_empty(), "{edits:?}");
        assert_eq!(left, [("agent".into(), Why::NothingSaysIt), ("model".into(), Why::NothingSaysIt)]);
    }

    #[test]
    fn a_task_says_nothing_about_its_prompt() {
        let summary = format!(r#","summary":true,"parentID":"msg_1","mode":"compaction"{REST}"#);
        let (edits, left) = added(&[user("msg_1", ASKED), answer("msg_2", &summary)]);
        assert_eq!(edits, [("msg_2".into(), r#","agent":"compaction""#.into())]);
        assert_eq!(left, []);
        let mut subtask = user("msg_1", ASKED);
        subtask.parts.push(PartRow {
            id: "prt_1".into(),
            data: r#"{"type":"subtask","prompt":"p","description":"d","agent":"general"}"#.into(),
            time_created: 0,
        });
        let (edits, left) = added(&[subtask, answer("msg_2", &format!(r#","parentID":"msg_1"{REST}"#))]);
        assert!(edits.is_empty(), "{edits:?}");
        assert_eq!(left, [("mode".into(), Why::NothingSaysIt), ("agent".into(), Why::NothingSaysIt)]);
    }

    #[test]
    fn a_parent_is_the_prompt_right_before() {
        let no_parent = format!(r#","mode":"build","agent":"build"{REST}"#);
        let other = |parent: &str| answer("msg_9", &format!(r#","parentID":"{parent}"{no_parent}"#));
        let (edits, _) =
            added(&[user("msg_0", ASKED), user("msg_1", ASKED), answer("msg_2", &no_parent), other("msg_1")]);
        assert_eq!(edits, [("msg_2".into(), r#","parentID":"msg_1""#.into())]);
        let (edits, left) =
            added(&[user("msg_0", ASKED), user("msg_1", ASKED), other("msg_0"), answer("msg_2", &no_parent)]);
        assert!(edits.is_empty(), "{edits:?}");
        assert_eq!(left, [("parentID".into(), Why::TwoCandidates)]);
        let (_, left) = added(&[answer("msg_2", &no_parent), user("msg_3", ASKED)]);
        assert_eq!(left, [("parentID".into(), Why::NothingSaysIt)]);
    }

    #[test]
    fn a_folder_is_the_sessions() {
        let no_path = r#","parentID":"msg_1","mode":"build","agent":"build","modelID":"m","providerID":"p""#;
        let (edits, _) = added(&[user("msg_1", ASKED), answer("msg_2", no_path)]);
        assert_eq!(edits, [("msg_2".into(), r#","path":{"cwd":"/w/x","root":"/w""#.into())]);
        let moved = answer("msg_3", &format!(r#"{no_path},"path":{{"cwd":"/old","root":"/old"}}"#));
        let (edits, left) = added(&[user("msg_1", ASKED), answer("msg_2", no_path), moved]);
        assert!(edits.is_empty(), "{edits:?}");
        assert_eq!(left, [("path".into(), Why::TwoCandidates)]);
    }

    #[test]
    fn a_part_gets_the_id_that_is_expected() {
        let with = |ids: &[&str]| MessageRow { parts: ids.iter().map(|id| part(id)).collect(), ..user("msg_1", ASKED) };
        assert_eq!(added(&[with(&["part_a", "prt_b"])]).0, [("part_a".into(), "prt_a".into())]);
        assert_eq!(added(&[with(&["part_c", "prt_b"])]).1, [("id".into(), Why::OrderOfParts)]);
        assert_eq!(added(&[with(&["xyz_c"])]).1, [("id".into(), Why::NotFilledIn)]);
        let row = SessionRow::default();
        let taken = fill(&row, &[with(&["part_a"])], None, |id| id == "prt_a");
        assert_eq!(taken.left[0].why, Why::Taken);
    }

    #[test]
    fn an_id_is_renamed_wherever_it_stands() {
        let revert = rename_in_revert(r#"{"messageID":"m", "partID":"part_a"}"#, "part_a", "prt_a").unwrap();
        assert_eq!(revert.as_deref(), Some(r#"{"messageID":"m", "partID":"prt_a"}"#));
        assert_eq!(rename_in_revert(r#"{"messageID":"m"}"#, "part_a", "prt_a"), Ok(None));
        let event = |kind: &str, data: &str| rename_in_event(kind, data, "part_a", "prt_a").unwrap();
        let updated = r#"{"sessionID":"s","part":{"text":"part_a","id":"part_a"},"time":1}"#;
        assert_eq!(
            event("message.part.updated.1", updated).as_deref(),
            Some(r#"{"sessionID":"s","part":{"text":"part_a","id":"prt_a"},"time":1}"#)
        );
        let removed = r#"{"sessionID":"s","messageID":"m","partID":"part_a"}"#;
        assert!(event("message.part.removed.1", removed).is_some_and(|data| data.contains(r#""partID":"prt_a""#)));
        assert_eq!(event("message.removed.1", removed), None);
    }
}
