//! What users, networks and crashes do to sessions of the preview.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::Protocol;
use super::program::{Home, Mode, last_event, run_after, wait_until};
use crate::judge::side_by_side;
use crate::opencode::{MODEL, MODELS, Server};
use crate::provider::{Event, Provider, Reply};
use crate::rows;

type Done = Result<(), String>;

type Story = (&'static str, fn(&Stage<'_>) -> Done);

/// The stories that a process lives through.
const STORIES: &[Story] = &[
    ("healthy", |stage| stage.play(two_steps())),
    ("healthy-text", |stage| stage.play([hello()])),
    ("thinking", |stage| {
        stage.play([
            vec![Event::Thinking("Let me see."), Event::Text("Looking."), shell("echo ok")],
            vec![Event::Thinking("Good."), Event::Text("All is well.")],
        ])
    }),
    ("two-tools", |stage| stage.play([vec![shell("echo one"), shell("echo two")], hello()])),
    ("tool-fails", |stage| stage.play([vec![Event::Tool("read", json!({"path": "nowhere.txt"}))], hello()])),
    ("image", |stage| {
        let png = crate::claude::png(4, 4, 0);
        let file = stage.home.work().join("dot.png");
        std::fs::write(&file, png).map_err(|error| error.to_string())?;
        stage.provider.script(&stage.marker(), [hello()]);
        let session = stage.create()?;
        let files = json!([{"uri": format!("file://{}", file.display()), "name": "dot.png"}]);
        stage.prompt(&session, &json!({"text": stage.words(), "files": files}))
    }),
    ("reset-mid-tool", |stage| stage.play([vec![Event::Text("Let me look."), part_of_tool(), pause(), Event::Reset]])),
    ("reset-after-tool", |stage| {
        stage.play([vec![Event::Text("Running."), shell("echo hi"), part_of_tool(), pause(), pause(), Event::Reset]])
    }),
    ("overload", |stage| stage.play([vec![Event::Text("Let me look."), part_of_tool(), Event::Overload]])),
    ("abort-text", |stage| stage.abort([slow_text()], |row| holds(row, "text"))),
    ("abort-thinking", |stage| {
        stage.abort([vec![Event::Thinking("Let me think…"), Event::Hang]], |row| holds(row, "reasoning"))
    }),
    ("abort-tool-input", |stage| {
        stage.abort([vec![Event::Text("About to call."), part_of_tool(), Event::Hang]], |row| tool(row, "streaming"))
    }),
    ("abort-running-tool", |stage| stage.abort([slow_tool()], |row| tool(row, "running"))),
    ("abort-second-step", |stage| stage.abort([two_steps().swap_remove(0), slow_text()], second_step)),
    ("abort-one-done-one-running", |stage| {
        stage.abort([vec![shell("echo one"), shell("echo two; sleep 60")]], one_of_two)
    }),
    ("abort-text-later", |stage| {
        stage.play(two_steps())?;
        stage.abort_again(&[slow_text()], |row| holds(row, "text") && row["finish"].is_null())
    }),
    ("abort-then-recovered", |stage| {
        stage.abort([slow_text()], |row| holds(row, "text"))?;
        stage.say_again("go on", [hello()])
    }),
    ("empty-prompt", |stage| {
        stage.play([hello()])?;
        stage.prompt(&stage.known()?, &json!({"text": ""}))
    }),
    ("space-prompt", |stage| {
        stage.play([hello()])?;
        stage.prompt(&stage.known()?, &json!({"text": " "}))
    }),
    ("empty-first", |stage| {
        let session = stage.create()?;
        stage.prompt(&session, &json!({"text": ""}))
    }),
    ("maxsteps", |stage| {
        stage.provider.script(&stage.marker(), [vec![shell("echo step")]]);
        let session = stage.create()?;
        stage.server.post(&format!("/api/session/{session}/agent"), &json!({"agent": "short"}))?;
        stage.prompt(&session, &json!({"text": stage.words()}))
    }),
    ("compacted", |stage| {
        stage.play(two_steps().into_iter().chain([vec![Event::Text("Summary: all is well.")]]))?;
        stage.compact()
    }),
    ("compacted-then-more", |stage| {
        stage.play(two_steps().into_iter().chain([vec![Event::Text("Summary: all is well.")]]))?;
        stage.compact()?;
        stage.say_again("next", two_steps())
    }),
    ("compact-failed", |stage| {
        stage.play(two_steps().into_iter().chain([vec![]]))?;
        stage.compact()
    }),
    ("compact-aborted", |stage| {
        stage.play(two_steps().into_iter().chain([slow_text()]))?;
        let session = stage.known()?;
        stage.server.post(&format!("/api/session/{session}/compact"), &json!({}))?;
        stage.wait_for_row("a running compaction", &session, |row| row["status"] == "running")?;
        stage.interrupt(&session)
    }),
    ("big", |stage| {
        let first = vec![Event::InputTokens(199_500), Event::Text("Big."), shell("echo ok")];
        stage.play([first, vec![Event::Text("Summary: it was big.")], hello()])
    }),
    ("shell-after", |stage| {
        stage.play([hello()])?;
        let session = stage.known()?;
        stage.server.post(&format!("/api/session/{session}/shell"), &json!({"command": "echo hi"}))?;
        stage.wait_for_row("a shell that is over", &session, |row| row["type"] == "shell" && row["output"].is_object())
    }),
    ("synthetic-after", |stage| {
        stage.play([hello()])?;
        let session = stage.known()?;
        let body = json!({"text": "A notice.", "resume": false});
        stage.server.post(&format!("/api/session/{session}/synthetic"), &body)?;
        Ok(())
    }),
    ("waiting-prompts", |stage| {
        stage.play([hello()])?;
        let session = stage.known()?;
        for (text, delivery) in [("steer me", "steer"), ("queue me", "queue"), ("queue me too", "queue")] {
            let body = json!({"text": text, "delivery": delivery, "resume": false});
            stage.server.post(&format!("/api/session/{session}/prompt"), &body)?;
        }
        Ok(())
    }),
    ("other-model", |stage| {
        stage.play([vec![Event::Thinking("Let me see."), Event::Text("Looking."), shell("echo ok")], hello()])?;
        let session = stage.known()?;
        let model = json!({"model": {"providerID": stage.protocol.provider(), "id": MODELS[1]}});
        stage.server.post(&format!("/api/session/{session}/model"), &model)?;
        Ok(())
    }),
    ("revert-staged", |stage| {
        stage.abort([slow_text()], |row| holds(row, "text"))?;
        stage.say_again("go on", [hello()])?;
        stage.revert_to_second_prompt()
    }),
    ("revert-committed", |stage| {
        stage.abort([slow_text()], |row| holds(row, "text"))?;
        stage.say_again("go on", [hello()])?;
        stage.revert_to_second_prompt()?;
        stage.server.post(&format!("/api/session/{}/revert/commit", stage.known()?), &json!({}))?;
        Ok(())
    }),
    ("fork", |stage| {
        stage.abort([slow_text()], |row| holds(row, "text"))?;
        let fork = stage.server.post(&format!("/api/session/{}/fork", stage.known()?), &json!({}))?;
        stage.also("forked", fork["data"]["id"].as_str().ok_or("the fork has no id")?);
        Ok(())
    }),
];

type Cut = (&'static str, fn() -> Vec<Reply>, fn(&Value) -> bool);

/// The stories that end with the end of the process, all in the same one: the replies, and the row that must be there.
/// They are played twice, for a crash and for the service's orderly end.
const CUT: &[Cut] = &[
    ("text", || vec![slow_text()], |row| holds(row, "text")),
    ("thinking", || vec![vec![Event::Thinking("Let me think…"), Event::Hang]], |row| holds(row, "reasoning")),
    (
        "tool-input",
        || vec![vec![Event::Text("About to call."), part_of_tool(), Event::Hang]],
        |row| tool(row, "streaming"),
    ),
    ("running-tool", || vec![slow_tool()], |row| tool(row, "running")),
    ("second-step", || vec![two_steps().swap_remove(0), slow_text()], second_step),
    ("one-done-one-running", || vec![vec![shell("echo one"), shell("echo two; sleep 60")]], one_of_two),
];

fn hello() -> Reply {
    vec![Event::Text("Hello, all good here.")]
}

fn two_steps() -> Vec<Reply> {
    vec![vec![Event::Text("Step one."), shell("echo ok")], vec![Event::Text("Finished.")]]
}

fn slow_text() -> Reply {
    vec![Event::Text("Partial text that never…"), Event::Hang]
}

fn slow_tool() -> Reply {
    vec![Event::Text("Running a slow one."), shell("echo begun; sleep 60")]
}

fn shell(command: &str) -> Event {
    Event::Tool("shell", json!({"command": command}))
}

fn part_of_tool() -> Event {
    Event::PartOfTool("shell", "{\"command\":\"ec")
}

fn pause() -> Event {
    Event::Wait(Duration::from_millis(700))
}

fn parts<'a>(row: &'a Value, kind: &str) -> Vec<&'a Value> {
    row["content"].as_array().into_iter().flatten().filter(|part| part["type"] == kind).collect()
}

fn holds(row: &Value, kind: &str) -> bool {
    !parts(row, kind).is_empty()
}

fn tool(row: &Value, status: &str) -> bool {
    parts(row, "tool").iter().any(|part| part["state"]["status"] == status)
}

fn second_step(row: &Value) -> bool {
    holds(row, "text") && !holds(row, "tool") && row["type"] == "assistant"
}

fn one_of_two(row: &Value) -> bool {
    tool(row, "completed") && tool(row, "running")
}

/// One story's view of the program.
struct Stage<'a> {
    home: &'a Home,
    server: &'a Server,
    provider: &'a Provider,
    protocol: Protocol,
    name: &'a str,
    sessions: &'a Mutex<BTreeMap<String, String>>,
}

impl Stage<'_> {
    fn marker(&self) -> String {
        format!("{}.{}", self.protocol.provider(), self.name)
    }

    fn words(&self) -> String {
        format!("please SCN:{}", self.marker())
    }

    fn also(&self, name: &str, session: &str) {
        let mut sessions = self.sessions.lock().expect("no story has panicked");
        sessions.insert(name.to_owned(), session.to_owned());
    }

    fn known(&self) -> Result<String, String> {
        let sessions = self.sessions.lock().expect("no story has panicked");
        sessions.get(self.name).cloned().ok_or_else(|| "the story has no session".to_owned())
    }

    fn create(&self) -> Result<String, String> {
        let body = json!({"location": {"directory": self.home.work()},
            "model": {"providerID": self.protocol.provider(), "id": MODEL}});
        let answer = self.server.post("/api/session", &body)?;
        let session = answer["data"]["id"].as_str().ok_or("the session has no id")?.to_owned();
        self.also(self.name, &session);
        Ok(session)
    }

    fn send(&self, session: &str, body: &Value) -> Done {
        self.server.post(&format!("/api/session/{session}/prompt"), body).map(drop)
    }

    /// Sends a prompt and waits until its run is over.
    fn prompt(&self, session: &str, body: &Value) -> Done {
        let before = last_event(&self.home.store());
        self.send(session, body)?;
        wait_until("end of the run", Duration::from_secs(60), || {
            run_after(&self.home.store(), session, before).is_over()
        })
    }

    fn play(&self, replies: impl IntoIterator<Item = Reply>) -> Done {
        self.provider.script(&self.marker(), replies);
        let session = self.create()?;
        self.prompt(&session, &json!({"text": self.words()}))
    }

    fn say_again(&self, words: &str, replies: impl IntoIterator<Item = Reply>) -> Done {
        let marker = format!("{}.again", self.marker());
        self.provider.script(&marker, replies);
        self.prompt(&self.known()?, &json!({"text": format!("{words} SCN:{marker}")}))
    }

    fn context(&self, session: &str) -> Result<Vec<Value>, String> {
        let answer = self.server.get(&format!("/api/session/{session}/context"))?;
        Ok(answer["data"].as_array().cloned().unwrap_or_default())
    }

    fn wait_for_row(&self, what: &str, session: &str, so: impl Fn(&Value) -> bool) -> Done {
        wait_until(what, Duration::from_secs(30), || {
            self.context(session).is_ok_and(|rows| rows.last().is_some_and(&so))
        })?;
        std::thread::sleep(Duration::from_millis(700));
        Ok(())
    }

    fn interrupt(&self, session: &str) -> Done {
        let before = last_event(&self.home.store());
        self.server.post(&format!("/api/session/{session}/interrupt"), &json!({}))?;
        wait_until("end of the run", Duration::from_secs(30), || {
            run_after(&self.home.store(), session, before).is_over()
        })
    }

    fn abort(&self, replies: impl IntoIterator<Item = Reply>, so: impl Fn(&Value) -> bool) -> Done {
        self.provider.script(&self.marker(), replies);
        let session = self.create()?;
        self.send(&session, &json!({"text": self.words()}))?;
        self.wait_for_row("row to interrupt", &session, so)?;
        self.interrupt(&session)
    }

    fn abort_again(&self, replies: &[Reply], so: impl Fn(&Value) -> bool) -> Done {
        let marker = format!("{}.again", self.marker());
        self.provider.script(&marker, replies.iter().cloned());
        let session = self.known()?;
        self.send(&session, &json!({"text": format!("more SCN:{marker}")}))?;
        self.wait_for_row("row to interrupt", &session, so)?;
        self.interrupt(&session)
    }

    fn compact(&self) -> Done {
        let session = self.known()?;
        let before = last_event(&self.home.store());
        self.server.post(&format!("/api/session/{session}/compact"), &json!({}))?;
        wait_until("end of the compaction", Duration::from_secs(30), || {
            run_after(&self.home.store(), &session, before).is_over()
        })
    }

    fn revert_to_second_prompt(&self) -> Done {
        let session = self.known()?;
        let rows = self.context(&session)?;
        let second = rows.iter().filter(|row| row["type"] == "user").nth(1).ok_or("no second prompt")?;
        let body = json!({"messageID": second["id"], "files": false});
        self.server.post(&format!("/api/session/{session}/revert/stage"), &body).map(drop)
    }
}

/// The sessions by the names of their stories, and the folder that they were made in.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) sessions: BTreeMap<String, String>,
    pub(crate) work: std::path::PathBuf,
}

/// Whether `UNSTICK_E2E_STORIES` asks for it, or for nothing in particular.
pub(crate) fn wanted(name: &str) -> bool {
    let only = std::env::var("UNSTICK_E2E_STORIES").unwrap_or_default();
    only.is_empty() || only.split_whitespace().any(|word| word == name)
}

/// Plays all stories with a package, and leaves a copy of the store.
pub(crate) fn play(protocol: Protocol, store: &Path) -> Played {
    let provider = Provider::start();
    let home = Home::new(provider.port());
    let sessions = Mutex::new(BTreeMap::new());
    let failed = Mutex::new(Vec::new());
    let server = home.start(Mode::Plain);
    let chosen: Vec<&Story> = STORIES.iter().filter(|(name, _)| wanted(name)).collect();
    side_by_side(3, &chosen, |(name, story)| {
        let stage = Stage { home: &home, server: &server, provider: &provider, protocol, name, sessions: &sessions };
        if let Err(why) = story(&stage) {
            failed.lock().expect("no story has panicked").push(format!("{name}: {why}"));
        }
    });
    server.stop();
    for (mode, kind) in [(Mode::Plain, "kill"), (Mode::Service, "stop")] {
        let names: Vec<(String, &Cut)> =
            CUT.iter().map(|cut| (format!("{kind}-{}", cut.0), cut)).filter(|(name, _)| wanted(name)).collect();
        if names.is_empty() {
            continue;
        }
        let server = home.start(mode);
        side_by_side(3, &names, |(name, (_, replies, so))| {
            let stage =
                Stage { home: &home, server: &server, provider: &provider, protocol, name, sessions: &sessions };
            let begun: Done = (|| {
                provider.script(&stage.marker(), replies());
                let session = stage.create()?;
                stage.send(&session, &json!({"text": stage.words()}))?;
                stage.wait_for_row("row to cut off", &session, so)
            })();
            if let Err(why) = begun {
                failed.lock().expect("no story has panicked").push(format!("{name}: {why}"));
            }
        });
        match mode {
            Mode::Plain => {
                server.kill();
                drop(server);
            }
            Mode::Service => server.stop(),
        }
    }
    rows::copy(&home.store(), store);
    crate::report(&failed.into_inner().expect("no story has panicked"));
    let sessions = sessions.into_inner().expect("no story has panicked");
    Played { sessions, work: home.work() }
}
