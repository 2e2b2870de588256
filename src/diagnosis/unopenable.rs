//! `unopenable-row`, `unopenable-session`
//!
//! What the user sees: the session opens with "Bad request", or is missing from the list, or takes no prompt, though every
//! word of it is stored.
//!
//! Why: opencode checks its own rows against its types before it answers, and one row that does not fit takes the whole
//! answer with it.
//!
//! Source: what eight versions did with every kind of row, each member taken away (docs/opencode.md §13).

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;
use strum::Display;

use super::{Code, Finding, finding};
use crate::decoding::{self, GENERATIONS, StoredRow, Table, Value, Violation, Where, Wrong};
use crate::history::Session;
use crate::json::Object;

/// What fails because of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Fails {
    /// No session at all is listed.
    WholeList,
    /// This session is in no list.
    List,
    /// The session cannot be opened.
    Open,
    /// A new prompt fails.
    Prompt,
    /// The newest prompt, sent again, fails.
    Retry,
}

impl Fails {
    fn words(self) -> &'static str {
        match self {
            Self::WholeList => "opencode lists no session at all",
            Self::List => "it is in no list",
            Self::Open => "the session does not open",
            Self::Prompt => "every prompt fails",
            Self::Retry => "a retry fails",
        }
    }
}

/// What opencode cannot read, and what fails for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Misfit {
    /// The member of the row's JSON (`tokens.cache.read`), the column of `session`, `id` for a row's id, or empty for the
    /// row's JSON as a whole.
    pub member: String,
    /// What is wrong with it.
    pub wrong: Wrong,
    /// What fails.
    pub fails: Vec<Fails>,
}

/// Where rows stand in a session.
#[derive(Debug)]
pub struct Turns<'a> {
    last: HashSet<&'a str>,
    newest_prompt: Option<&'a str>,
}

impl<'a> Turns<'a> {
    /// The turns of a history in replay order.
    #[must_use]
    pub fn of(session: &'a Session) -> Self {
        let newest = session.messages.iter().rposition(|message| message.user().is_some());
        let last = session.messages.iter().skip(newest.unwrap_or(0)).map(|message| message.id()).collect();
        let newest_prompt = newest.and_then(|at| session.messages.get(at)).map(|message| message.id());
        Self { last, newest_prompt }
    }

    /// What fails for a rule that a row breaks.
    fn fails(&self, row: &StoredRow<'_>, violation: &Violation) -> Vec<Fails> {
        let fails = |of: Where| of.fails(self.last.contains(row.message));
        // The newest prompt's row is written anew when it is sent again, all but its id.
        let stays = self.newest_prompt != Some(row.id) || violation.member == "id";
        let all = [
            (Fails::Open, violation.open),
            (Fails::Prompt, fails(violation.prompt)),
            (Fails::Retry, stays && fails(violation.retry)),
        ];
        all.into_iter().filter_map(|(what, fails)| fails.then_some(what)).collect()
    }
}

/// The generation by which rows are judged: the newest that was measured. A store is opened by ever newer programs.
const NEWEST: usize = GENERATIONS.len() - 1;

/// Whether a walk over the rows would look at a row again: its id is of another form, or its own members do not fit. Of long
/// parts a walk sees no more than the id.
#[must_use]
pub fn looks_odd(row: &StoredRow<'_>) -> bool {
    const LONG: usize = 3_900;
    let members = || Object::parse(row.data).map_or(true, |object| decoding::breaks(row.table, &object));
    let long = row.table == Table::Part && row.data.len() > LONG;
    !row.id.starts_with(row.table.prefix()) || !long && members()
}

/// What opencode cannot read of a row of `message` or `part`.
#[must_use]
pub fn of_row(row: &StoredRow<'_>, turns: &Turns<'_>) -> Vec<Finding> {
    let found = decoding::violations(row.table, row.id, row.data, NEWEST).into_iter();
    let found = found.filter_map(|violation| {
        let fails = turns.fails(row, &violation);
        let part = (row.table == Table::Part).then_some(row.id);
        let misfit = Misfit { member: violation.member, wrong: violation.wrong, fails };
        (!misfit.fails.is_empty()).then(|| said(Code::UnopenableRow, row.message, part, misfit))
    });
    found.collect()
}

/// What opencode cannot read of a session's own row. `get` gives a column's value, `None` where the store has no such
/// column; `lost` are the columns that name a row which is not there.
#[must_use]
pub fn of_session<'a>(get: impl Fn(&str) -> Option<Value<'a>>, lost: &[&str]) -> Vec<Finding> {
    let broken = decoding::session_violations(get, NEWEST).into_iter().map(|violation| {
        let decoding::Fails { list, command, get, open, prompt } = violation.fails;
        let all = [(Fails::WholeList, list || command), (Fails::Open, get || open), (Fails::Prompt, prompt)];
        let fails = all.into_iter().filter_map(|(what, fails)| fails.then_some(what)).collect();
        Misfit { member: violation.column.to_owned(), wrong: violation.wrong, fails }
    });
    // Measured on 1.18.34.
    let lost = lost.iter().map(|column| {
        let fails = match *column {
            "project_id" => vec![Fails::List, Fails::Prompt],
            _ => vec![Fails::WholeList, Fails::Open, Fails::Prompt],
        };
        Misfit { member: (*column).to_owned(), wrong: Wrong::Missing, fails }
    });
    broken.chain(lost).map(|misfit| said(Code::UnopenableSession, "", None, misfit)).collect()
}

fn said(code: Code, message: &str, part: Option<&str>, misfit: Misfit) -> Finding {
    let fails: Vec<&str> = misfit.fails.iter().map(|fails| fails.words()).collect();
    let what = match misfit.member.as_str() {
        "" => "its JSON".to_owned(),
        member => format!("`{member}`"),
    };
    let wrong = match misfit.wrong {
        Wrong::Missing if code == Code::UnopenableSession => "names a row that is not there",
        Wrong::Missing => "is missing",
        Wrong::Null => "is null",
        Wrong::Kind => "is of another kind than opencode expects",
        Wrong::Number => "is no number that opencode takes there",
        Wrong::Word => "is a word that opencode does not know",
        Wrong::Prefix => "does not begin as such ids do",
        Wrong::Unwanted => "is there, and opencode takes no value for it",
        Wrong::Json => "cannot be parsed",
    };
    let detail = format!("{what} {wrong}: {}", fails.join(", "));
    Finding { misfit: Some(misfit), ..finding(code, message, part, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::{MessageRow, SessionRow, history};

    fn user(id: &str) -> MessageRow {
        let data = r#"{"role":"user","time":{"created":1},"agent":"a","model":{"providerID":"p","modelID":"m"}}"#;
        MessageRow { id: id.into(), data: data.into(), ..MessageRow::default() }
    }

    #[test]
    fn what_fails_follows_from_where_the_row_stands() {
        let session = history(&SessionRow::default(), &[user("msg_1"), user("msg_2")]).unwrap();
        let turns = Turns::of(&session);
        let fails = |id: &str, data: &str| {
            let row = StoredRow { table: Table::Message, id, message: id, data };
            of_row(&row, &turns).into_iter().flat_map(|finding| finding.misfit.unwrap().fails).collect::<Vec<_>>()
        };
        let timeless = r#"{"role":"user","agent":"a","model":{"providerID":"p","modelID":"m"}}"#;
        assert_eq!(fails("msg_1", timeless), [Fails::Open, Fails::Prompt, Fails::Retry]);
        assert_eq!(fails("msg_2", timeless), [Fails::Open, Fails::Prompt], "it is written anew when it is sent again");
        assert_eq!(fails("msg_2", &user("").data), []);
        assert_eq!(fails("message_2", &user("").data), [Fails::Open]);
    }
}
