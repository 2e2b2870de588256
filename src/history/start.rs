//! Rows of which only the start was read: what makes a row large stands behind what the rules ask.
//!
//! A scan reads the first few hundred bytes of a large row. Where these do not tell, the row is read whole. Reading no
//! more of any row would save some 10 % of a scan, and miss rows of one to four kilobytes that are broken at their end.

use super::parse::model;
use super::{Digest, Head, MessageRow, Names, Output, Part, PartKind, Role, ToolCall, ToolState, User};
use crate::json::{Object, Start};

/// What may stand behind the start of a part and still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Nothing.
    Nothing,
    /// A member of one of these names; where one is there, the row has to be read whole.
    Names(&'static [&'static [u8]]),
}

/// Members of a call that stand behind its output: attached files, and the mark of a provider that ran the call itself.
const BEHIND_OUTPUT: [&[u8]; 2] = [b"attachments", b"providerExecuted"];

/// Tools of opencode whose results are text alone, and which no provider runs. Read in 1.2.1, 1.3.0, 1.14.48 and 1.18.34.
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

/// A user's row by its start. `None`: the row has to be read.
///
/// What makes a message large is the `summary` of a prompt, which holds all that its turn has changed: rows of
/// hundreds of megabytes were reported (docs/performance.md). From 1.14 on opencode writes it behind everything that is
/// asked for.
#[must_use]
pub fn head_of_start(row: MessageRow, start: &[u8]) -> Option<Head> {
    let members = Start::of(start)?;
    if members.cut_in()? != "summary" || members.words("role")? != "user" {
        return None;
    }
    let created = Object::parse(members.some("time")?).ok()?.number("created").ok()??;
    let agent = members.some("agent").map(|_| members.string("agent").ok_or(())).transpose().ok()?;
    let user = User {
        agent: agent.map(|agent| agent.into()),
        model: Some(model(&Object::parse(members.some("model")?).ok()?, &mut Names::default()).ok()?),
    };
    Some(Head { row, created, role: Role::User(user) })
}

/// A part by its start; `bytes` is the size of its whole JSON. `None`: the row has to be read.
///
/// With `exact`, what stands behind the output of a tool counts whatever tool it is; else a tool that returns text alone is
/// taken to have returned text, and to have been run by opencode.
#[must_use]
pub fn part_of_start(id: &str, time_created: i64, bytes: u64, start: &[u8], exact: bool) -> Option<(Part, Behind)> {
    let members = Start::of(start)?;
    let (kind, behind) = match members.words("type")?.as_ref() {
        "tool" => {
            let (tool, call_id) = (members.string("tool")?, members.string("callID")?);
            let state = members.object("state")?;
            if state.words("status")? != "completed" {
                return None;
            }
            let behind = if exact || carries(&tool, &state) { Behind::Names(&BEHIND_OUTPUT) } else { Behind::Nothing };
            let output = match (state.some("output"), state.begun("output")) {
                (Some("\"\""), _) => Output::Silent,
                (_, Some(begun)) if begun.starts_with('"') => Output::Text,
                (_, Some(begun)) if !begun.is_empty() => Output::Other,
                _ if exact => return None,
                _ => Output::Text,
            };
            let call = ToolCall {
                tool,
                call_id,
                provider_executed: false,
                metadata: None,
                call: Digest::default(),
                result: Digest::default(),
                state: ToolState::Completed { compacted: false, output, attachments: Vec::new() },
            };
            (PartKind::Tool(Box::new(call)), behind)
        }
        // Texts are small, and each of their words may count.
        "text" | "reasoning" | "file" | "step-start" | "step-finish" | "compaction" | "subtask" => return None,
        other => (PartKind::Other(other.into()), Behind::Nothing),
    };
    Some((Part { id: id.into(), time_created, bytes, changed: None, kind }, behind))
}

/// Whether a finished call may carry what stands behind its output.
fn carries(tool: &str, state: &Start<'_>) -> bool {
    if TEXT_ALONE.contains(&tool) {
        return false;
    }
    if !["read", "webfetch"].contains(&tool) {
        return true;
    }
    // These two say "Image read successfully", "PDF read successfully" or "Image fetched successfully" with a file.
    let output = state.begun("output");
    output.is_none_or(|text| text.len() < 8 || text.starts_with("\"Image ") || text.starts_with("\"PDF "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::{Depth, head, part};

    fn row() -> MessageRow {
        MessageRow { rowid: 1, id: "m".into(), session_id: "s".into(), time_created: 1, time_updated: 1 }
    }

    fn started(text: &str, exact: bool) -> Option<(Part, Behind)> {
        part_of_start("prt_1", 1, text.len() as u64, &text.as_bytes()[..text.len().min(512)], exact)
    }

    fn call(tool: &str, output: &str, end: &str) -> String {
        format!(
            r#"{{"type":"tool","tool":"{tool}","callID":"c","state":{{"status":"completed","input":{{}},"output":"{output}{}","title":"t","time":{{"start":1,"end":2}}{end}"#,
            "x".repeat(900)
        )
    }

    #[test]
    fn a_long_result_is_known_by_its_start() {
        let text = call("bash", "", "}}");
        assert_eq!(started(&text, false), Some((part("prt_1", 1, &text, Depth::Scan).unwrap(), Behind::Nothing)));
        let failed = text.replacen("completed", "error", 1);
        assert_eq!(started(&failed, false), None, "the mark of an orphan stands at the end");
    }

    #[test]
    fn what_stands_behind_an_output_is_searched_for_where_a_tool_may_have_put_it() {
        let searched = |tool: &str, output: &str, exact| {
            matches!(started(&call(tool, output, "}}"), exact), Some((_, Behind::Names(_))))
        };
        assert!(!searched("bash", "Image read successfully", false));
        assert!(searched("bash", "", true));
        assert!(!searched("read", "<path>/a</path>", false));
        assert!(searched("read", "Image read successfully\\n", false));
        assert!(searched("read", "PDF read successfully\\n", false));
        assert!(searched("webfetch", "Image fetched successfully\\n", false));
        assert!(!searched("webfetch", "# A page", false));
        assert!(searched("browser_screenshot", "Taken.", false), "nobody knows what it returns");
        let unseen =
            call("read", "", "}}").replace("\"input\":{}", &format!("\"input\":{{\"p\":\"{}\"}}", "x".repeat(900)));
        assert!(matches!(started(&unseen, false), Some((_, Behind::Names(_)))), "its output was not seen");
    }

    #[test]
    fn a_prompt_with_a_long_summary_is_known_by_its_start() {
        let of =
            |text: &str| head_of_start(row(), &text.as_bytes()[..512]).map(|h| format!("{:?}", (h.created, h.role)));
        let start = r#"{"role":"user","time":{"created":7},"agent":"build","model":{"providerID":"p","modelID":"m"}"#;
        let summary = format!(r#","summary":{{"diffs":[{{"file":"a","patch":"{}"}}]}}}}"#, "x".repeat(900));
        let long = format!("{start}{summary}");
        let whole = head(row(), &long).unwrap();
        assert_eq!(of(&long), Some(format!("{:?}", (whole.created, whole.role))));
        // Members may stand behind any other that is cut off.
        assert_eq!(of(&format!(r#"{start},"system":"{}"}}"#, "x".repeat(900))), None);
        assert_eq!(of(&format!(r#"{{"role":"user","time":{{"created":7}}{summary}"#)), None, "its model was not seen");
        assert_eq!(of(&long.replace("user", "assistant")), None);
    }

    proptest! {
        /// Whatever a start says is what the whole row says, where nothing stands behind it.
        #[test]
        fn a_start_says_what_the_whole_says(
            members in Just(vec![
                "\"type\":\"tool\"", "\"tool\":\"bash\"", "\"callID\":\"c\"", "\"metadata\":{}",
                "\"state\":{\"status\":\"completed\",\"time\":{\"start\":1},\"output\":\"PAD\"}",
                "\"x\":\"PAD\"", "\"type2\":\"step-start\"",
            ]).prop_shuffle(),
            kind in proptest::sample::select(vec!["tool", "patch", "step-start", "text", "agent"]),
            cut in 1usize..1_500,
        ) {
            let text = format!("{{{}}}", members.join(",")).replace("PAD", &"y".repeat(300)).replacen("\"tool\"", &format!("\"{kind}\""), 1);
            let cut = cut.min(text.len() - 1);
            if let Some((start, behind)) = part_of_start("prt_1", 1, text.len() as u64, &text.as_bytes()[..cut], true) {
                let mut whole = part("prt_1", 1, &text, Depth::Scan).unwrap();
                if let PartKind::Tool(call) = &mut whole.kind {
                    // It stands behind the result.
                    call.metadata = None;
                }
                prop_assert_eq!(&start.kind, &whole.kind, "{:?}", behind);
                prop_assert_eq!(start.bytes, whole.bytes);
            }
        }
    }
}
