//! The stories that end in a stored session: what users and networks do, played to a real opencode.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::judge::side_by_side;
use crate::opencode::{Home, MODEL, Server, Snapshots, Version};
use crate::provider::{Event, Provider, Reply};
use crate::rows;
use crate::setup::Setup;

/// Why there is no session of a scenario.
#[derive(Debug)]
pub(crate) enum Missing {
    /// This version cannot do it.
    NotApplicable(String),
    /// It should have worked.
    Failed(String),
}

impl From<String> for Missing {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

type Done = Result<(), Missing>;

type Story = (&'static str, fn(&Stage<'_>) -> Done);

/// The stories that a process lives through.
const STORIES: &[Story] = &[
    ("healthy", |stage| stage.play(two_steps())),
    ("healthy-text", |stage| stage.play([hello()])),
    ("rstmidtool", |stage| stage.play(reset_mid_tool())),
    ("rstempty", |stage| {
        stage.play([vec![part_of_tool(), pause(), Event::Reset], vec![]])?;
        stage.expect("an orphan", is_orphan)
    }),
    ("rstpar", |stage| stage.play(one_completed_one_reset())),
    ("rst-two-completed", |stage| {
        let first = vec![bash("echo one"), bash("echo two"), part_of_tool(), pause(), pause(), Event::Reset];
        stage.play([first, after_retry()])?;
        stage.expect("a completed tool", is_completed)
    }),
    ("rst-twice", |stage| {
        let first = vec![Event::Text("Let me look."), part_of_tool(), pause(), Event::Reset];
        let second = vec![part_of_tool(), pause(), Event::Reset];
        stage.play([first, second, after_retry()])
    }),
    ("rst-running-tool", |stage| {
        let first = vec![Event::Text("Running."), bash("sleep 4; echo hi"), pause(), Event::Reset];
        stage.play([first, after_retry()])
    }),
    ("rstthink", |stage| {
        let think =
            |text| vec![Event::Thinking(text), Event::Text("Let me look."), part_of_tool(), pause(), Event::Reset];
        stage.play([think("Hmm 0"), vec![Event::Thinking("Hmm 1"), Event::Text("Done after retry.")]])
    }),
    ("rstthenrun", |stage| {
        stage.play([vec![part_of_tool(), pause(), Event::Reset], vec![bash("echo hi")], vec![Event::Text("All done.")]])
    }),
    ("rst-image", |stage| {
        let dot = stage.home.work().join("dot.png");
        let read = Event::Tool("read", json!({"filePath": dot}));
        stage.play([vec![read, part_of_tool(), pause(), pause(), Event::Reset], after_retry()])?;
        stage.expect("a completed tool", is_completed)
    }),
    ("overmidtool", |stage| {
        stage.play([vec![Event::Text("Let me look."), part_of_tool(), pause(), Event::Overload], after_retry()])
    }),
    ("overaftertool", |stage| {
        stage.play([vec![Event::Text("Running."), bash("sleep 5; echo hi"), pause(), Event::Overload], after_retry()])
    }),
    ("maxsteps", |stage| {
        stage.provider.script(&stage.marker(), [vec![bash("echo step")]]);
        let session = stage.session()?;
        stage.say_to(&session, "short", &stage.words())?;
        stage.expect("a failed request", |message| message["info"]["error"]["name"] == "APIError")
    }),
    ("abort-tool-input", |stage| {
        stage.abort([vec![Event::Text("About to call."), part_of_tool(), Event::Hang]], is_tool)
    }),
    ("abort-running-tool", |stage| stage.abort([slow_tool()], is_running)),
    ("abort-text", |stage| stage.abort([slow_text()], |part| part["type"] == "text")),
    ("abort-text-second-step", |stage| {
        let second = |messages: &Value| count(messages, |part| part["type"] == "text") >= 3;
        stage.abort_when([two_steps().swap_remove(0), slow_text()], second)
    }),
    ("abort-thinking", |stage| {
        stage.abort([vec![Event::Thinking("Let me think…"), Event::Hang]], |part| part["type"] == "reasoning")
    }),
    ("encrypted", |stage| stage.play([vec![Event::Encrypted("ZW5j"), Event::Text("Hello, all good here.")]])),
    ("abort-encrypted", |stage| {
        let thought = vec![Event::Encrypted("ZW5j"), Event::Hang];
        stage.abort([thought], |part| part["type"] == "reasoning" || part["type"] == "step-start")
    }),
    ("abort-then-prompt", |stage| {
        stage.abort([slow_text()], |part| part["type"] == "text")?;
        stage.say_again("go on", [hello()])
    }),
    ("abort-task", |stage| {
        stage.provider.script(&stage.marker_of("child"), [slow_tool()]);
        stage.provider.script(&stage.marker(), [vec![stage.task()]]);
        let session = stage.session()?;
        stage.during(&session, || {
            stage.wait("a subagent that runs a tool", || {
                let children = stage.server.get(&format!("/session/{session}/children"))?;
                let Some(child) = children[0]["id"].as_str() else { return Ok(false) };
                Ok(count(&stage.messages(child)?, is_running) > 0)
            })?;
            stage.abort_now(&session)
        })
    }),
    ("task-child-reset", |stage| {
        stage.provider.script(&stage.marker_of("child"), one_completed_one_reset());
        stage.play([vec![stage.task()], vec![Event::Text("The subagent is back.")]])
    }),
    ("question-rejected", |stage| {
        stage.ask_question(|session, question| {
            stage.server.post(&format!("/question/{question}/reject"), &json!({}))?;
            stage.wait_idle(session)
        })
    }),
    ("question-aborted", |stage| stage.ask_question(|session, _| stage.abort_now(session))),
    ("shell", |stage| {
        stage.play([hello()])?;
        let session = stage.known()?;
        let body = json!({"agent": "build", "command": "echo hi", "model": stage.model()});
        stage.server.post(&format!("/session/{session}/shell"), &body)?;
        Ok(())
    }),
    ("recovered", |stage| {
        stage.play(reset_mid_tool())?;
        stage.say_again("go on", [hello()])
    }),
    ("recovered-400", |stage| {
        stage.provider.script(&stage.marker(), [vec![bash("echo step")]]);
        let session = stage.session()?;
        stage.say_to(&session, "short", &stage.words())?;
        stage.expect("a failed request", |message| message["info"]["error"]["name"] == "APIError")?;
        stage.say_again("go on", [hello()])
    }),
    ("failed-again", |stage| {
        stage.play(one_completed_one_reset())?;
        let session = stage.known()?;
        let user = stage.message(&session, |message| message["info"]["role"] == "user")?;
        let body = json!({"messageID": user["info"]["id"], "agent": "build", "model": stage.model(), "parts": []});
        stage.server.post(&format!("/session/{session}/message"), &body)?;
        Ok(())
    }),
    ("compacted", |stage| {
        stage.play(two_steps().into_iter().chain([vec![Event::Text("Summary: all is well.")]]))?;
        stage.compact(&stage.known()?)
    }),
    ("compact-aborted", |stage| {
        stage.play(two_steps().into_iter().chain([slow_summary()]))?;
        let session = stage.known()?;
        std::thread::scope(|scope| {
            scope.spawn(|| stage.compact(&session));
            stage.wait("half a summary", || Ok(is_summarising(&stage.messages(&session)?)))?;
            std::thread::sleep(Duration::from_millis(700));
            stage.abort_now(&session)
        })
    }),
    ("compacted-then-reset", |stage| {
        stage.play(two_steps().into_iter().chain([vec![Event::Text("Summary: all is well.")]]))?;
        stage.compact(&stage.known()?)?;
        stage.say_again("next", one_completed_one_reset())
    }),
    ("tail-kept", |stage| {
        stage.play(two_steps())?;
        let summary = vec![Event::Text("Summary: two went well.")];
        stage.say_again("next", one_completed_one_reset().into_iter().chain([summary]))?;
        stage.compact(&stage.known()?)
    }),
    ("overflow-tail", |stage| {
        stage.play([vec![Event::InputTokens(199_500), Event::Text("A long story.")], vec![Event::Text("Summary.")]])?;
        let session = stage.known()?;
        stage.wait_idle(&session)?;
        stage.provider.script(&stage.marker_of("more"), [slow_text()]);
        let seen = count(&stage.messages(&session)?, |part| part["type"] == "text");
        std::thread::scope(|scope| {
            scope.spawn(|| stage.say_to(&session, "build", &format!("more SCN:{}", stage.marker_of("more"))));
            stage.wait("half a text", || {
                Ok(count(&stage.messages(&session)?, |part| part["type"] == "text") > seen + 1)
            })?;
            std::thread::sleep(Duration::from_millis(700));
            stage.abort_now(&session)
        })
    }),
    ("revert-plain", |stage| {
        stage.play(one_completed_one_reset())?;
        stage.say_again("go on", [hello()])?;
        stage.revert_to_second_turn()
    }),
    ("revert-onto-orphan", |stage| {
        stage.play(reset_mid_tool())?;
        stage.say_again("go on", [hello()])?;
        stage.revert_to_second_turn()
    }),
    ("revert-part", |stage| {
        stage.play(one_completed_one_reset())?;
        let session = stage.known()?;
        let later = |part: &Value| part["type"] == "text" && part["text"] == "Done after retry.";
        let message = stage.message(&session, |message| list(&message["parts"]).iter().any(later))?;
        let part = list(&message["parts"]).iter().find(|part| later(part)).cloned().unwrap_or_default();
        stage.revert(&session, &json!({"messageID": message["info"]["id"], "partID": part["id"]}))
    }),
    ("buried-completed", |stage| {
        stage.play(one_completed_one_reset())?;
        stage.say_again("go on", [hello()])
    }),
    ("deleted-orphan", |stage| {
        // What people try first. It does not help: the completed tool is still there.
        stage.play(one_completed_one_reset())?;
        let session = stage.known()?;
        let failed = |part: &Value| is_tool(part) && part["state"]["status"] == "error";
        let message = stage.message(&session, is_orphan)?;
        let part = list(&message["parts"]).iter().find(|part| failed(part)).cloned().unwrap_or_default();
        let [message, part] = [&message["info"]["id"], &part["id"]].map(|id| id.as_str().unwrap_or("none"));
        stage.server.delete(&format!("/session/{session}/message/{message}/part/{part}"))?;
        Ok(())
    }),
    ("empty-after-healthy", |stage| {
        stage.play([hello()])?;
        stage.say_nothing()
    }),
    ("empty-after-orphan", |stage| {
        stage.play(reset_mid_tool())?;
        stage.say_nothing()
    }),
    ("fork", |stage| {
        stage.play(one_completed_one_reset())?;
        let session = stage.known()?;
        let fork = stage.server.post(&format!("/session/{session}/fork"), &json!({}))?;
        let fork = fork["id"].as_str().ok_or_else(|| Missing::Failed("the fork has no id".to_owned()))?;
        stage.also("forked", fork);
        Ok(())
    }),
];

type Crash = (&'static str, fn() -> Vec<Reply>, fn(&Value) -> bool);

/// The stories that end with a crash, all in the same one: the replies, and what has to be stored before it.
const KILLED: &[Crash] = &[
    ("kill-running-tool", || vec![slow_tool()], |messages| count(messages, is_running) > 0),
    ("kill-text", || vec![slow_text()], |messages| count(messages, |part| part["type"] == "text") > 1),
    (
        "kill-text-second-step",
        || vec![two_steps().swap_remove(0), slow_text()],
        |messages| count(messages, |part| part["type"] == "text") >= 3,
    ),
    (
        "kill-thinking",
        || vec![vec![Event::Thinking("Let me think…"), Event::Hang]],
        |messages| count(messages, |part| part["type"] == "reasoning") > 0,
    ),
    (
        "kill-tool-input",
        || vec![vec![Event::Text("About to call."), part_of_tool(), Event::Hang]],
        |messages| count(messages, is_tool) > 0,
    ),
    (
        "kill-after-reset",
        || vec![reset_mid_tool().swap_remove(0), slow_text()],
        |messages| {
            let later = list(messages).iter().flat_map(|message| list(&message["parts"]));
            later.skip_while(|part| !is_tool(part)).any(|part| part["type"] == "text")
        },
    ),
    ("compact-killed", || two_steps().into_iter().chain([slow_summary()]).collect(), is_summarising),
];

/// A second or so: what opencode needs to store what it has read.
fn pause() -> Event {
    Event::Wait(Duration::from_millis(1000))
}

fn hello() -> Reply {
    vec![Event::Text("Hello, all good here.")]
}

fn bash(command: &str) -> Event {
    Event::Tool("bash", json!({"command": command, "description": "run it"}))
}

fn part_of_tool() -> Event {
    Event::PartOfTool("bash", "{\"command\":\"ec")
}

fn two_steps() -> Vec<Reply> {
    vec![vec![Event::Text("Step one."), bash("echo ok")], vec![Event::Text("Finished.")]]
}

fn after_retry() -> Reply {
    vec![Event::Text("Done after retry.")]
}

fn reset_mid_tool() -> Vec<Reply> {
    vec![vec![Event::Text("Let me look."), part_of_tool(), pause(), Event::Reset], after_retry()]
}

fn one_completed_one_reset() -> Vec<Reply> {
    let first = vec![Event::Text("Two at once."), bash("echo one"), part_of_tool(), pause(), pause(), Event::Reset];
    vec![first, after_retry()]
}

fn slow_tool() -> Reply {
    vec![Event::Text("Running a slow one."), bash("echo started; sleep 60")]
}

fn slow_text() -> Reply {
    vec![Event::Text("Partial text that never ends…"), Event::Hang]
}

fn slow_summary() -> Reply {
    vec![Event::Text("Half a summary…"), Event::Hang]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn count(messages: &Value, is: impl Fn(&Value) -> bool) -> usize {
    list(messages).iter().flat_map(|message| list(&message["parts"])).filter(|part| is(part)).count()
}

fn is_tool(part: &Value) -> bool {
    part["type"] == "tool"
}

fn is_running(part: &Value) -> bool {
    is_tool(part) && part["state"]["status"] == "running"
}

fn is_completed(message: &Value) -> bool {
    list(&message["parts"]).iter().any(|part| is_tool(part) && part["state"]["status"] == "completed")
}

fn is_orphan(message: &Value) -> bool {
    list(&message["parts"]).iter().any(|part| is_tool(part) && part["state"]["status"] == "error")
}

fn is_summarising(messages: &Value) -> bool {
    list(messages).iter().any(|message| message["info"]["summary"] == true && !list(&message["parts"]).is_empty())
}

/// One story, with one provider.
struct Stage<'a> {
    server: &'a Server,
    provider: &'a Provider,
    home: &'a Home,
    setup: &'static Setup,
    name: &'a str,
    sessions: &'a Mutex<BTreeMap<Key, String>>,
}

pub(crate) type Key = (&'static Setup, String);

impl Stage<'_> {
    fn marker(&self) -> String {
        format!("{}.{}", self.name, self.setup.provider)
    }

    fn marker_of(&self, what: &str) -> String {
        format!("{}.{what}", self.marker())
    }

    fn words(&self) -> String {
        format!("please SCN:{}", self.marker())
    }

    fn model(&self) -> Value {
        json!({"providerID": self.setup.provider, "modelID": MODEL})
    }

    fn task(&self) -> Event {
        let prompt = format!("do SCN:{}", self.marker_of("child"));
        Event::Tool("task", json!({"description": "sub job", "prompt": prompt, "subagent_type": "general"}))
    }

    fn also(&self, name: &str, id: &str) {
        self.sessions.lock().expect("a map").insert((self.setup, name.to_owned()), id.to_owned());
    }

    fn session(&self) -> Result<String, Missing> {
        let made = self.server.post("/session", &json!({"title": self.name}))?;
        let id = made["id"].as_str().ok_or_else(|| Missing::Failed(format!("a session without an id: {made}")))?;
        self.also(self.name, id);
        Ok(id.to_owned())
    }

    fn known(&self) -> Result<String, Missing> {
        let sessions = self.sessions.lock().expect("a map");
        let id = sessions.get(&(self.setup, self.name.to_owned())).cloned();
        id.ok_or_else(|| Missing::Failed("the session is not made yet".to_owned()))
    }

    fn say_to(&self, session: &str, agent: &str, words: &str) -> Result<Value, Missing> {
        self.say_within(session, agent, words, Duration::from_secs(90))
    }

    fn say_within(&self, session: &str, agent: &str, words: &str, limit: Duration) -> Result<Value, Missing> {
        let body = json!({"agent": agent, "model": self.model(), "parts": [{"type": "text", "text": words}]});
        Ok(self.server.post_within(&format!("/session/{session}/message"), &body, limit)?)
    }

    /// A session with one turn, and the replies to it.
    fn play(&self, replies: impl IntoIterator<Item = Reply>) -> Done {
        self.provider.script(&self.marker(), replies);
        let session = self.session()?;
        self.say_to(&session, "build", &self.words())?;
        Ok(())
    }

    fn say_again(&self, words: &str, replies: impl IntoIterator<Item = Reply>) -> Done {
        let marker = self.marker_of("again");
        self.provider.script(&marker, replies);
        self.say_to(&self.known()?, "build", &format!("{words} SCN:{marker}"))?;
        Ok(())
    }

    /// A prompt without a part, as clients have sent.
    fn say_nothing(&self) -> Done {
        let session = self.known()?;
        let body = json!({"agent": "build", "model": self.model(), "parts": []});
        self.server.post(&format!("/session/{session}/message"), &body)?;
        self.expect("a user row without parts", |message| {
            message["info"]["role"] == "user" && list(&message["parts"]).is_empty()
        })
    }

    fn messages(&self, session: &str) -> Result<Value, String> {
        self.server.get(&format!("/session/{session}/message"))
    }

    fn message(&self, session: &str, is: impl Fn(&Value) -> bool) -> Result<Value, Missing> {
        let messages = self.messages(session)?;
        let found = list(&messages).iter().find(|message| is(message)).cloned();
        found.ok_or_else(|| Missing::NotApplicable("this version records it without the row in question".to_owned()))
    }

    /// Says "not applicable" where the version has stored another shape than the story is about.
    fn expect(&self, what: &str, is: impl Fn(&Value) -> bool) -> Done {
        let messages = self.messages(&self.known()?)?;
        let found = list(&messages).iter().any(is);
        if found { Ok(()) } else { Err(Missing::NotApplicable(format!("this version does not store {what}"))) }
    }

    fn wait(&self, what: &str, is: impl Fn() -> Result<bool, String>) -> Done {
        let end = Instant::now() + Duration::from_secs(60);
        while !is()? {
            if Instant::now() > end {
                return Err(Missing::Failed(format!("waited in vain for {what}")));
            }
            std::thread::sleep(Duration::from_millis(150));
        }
        Ok(())
    }

    fn wait_idle(&self, session: &str) -> Done {
        self.wait("the end of the run", || {
            let busy = self.server.get("/session/status")?;
            Ok(busy.get(session).is_none_or(|status| status["type"] == "idle"))
        })
    }

    fn abort_now(&self, session: &str) -> Done {
        self.server.post(&format!("/session/{session}/abort"), &json!({}))?;
        self.wait_idle(session)
    }

    /// Does something while opencode works on the story's first turn.
    fn during(&self, session: &str, work: impl FnOnce() -> Done) -> Done {
        std::thread::scope(|scope| {
            // Old versions never answer when a question is aborted.
            scope.spawn(|| self.say_within(session, "build", &self.words(), Duration::from_secs(45)));
            work()
        })
    }

    fn abort(&self, replies: impl IntoIterator<Item = Reply>, part: impl Fn(&Value) -> bool) -> Done {
        let assistants = |messages: &Value| {
            let answers = list(messages).iter().filter(|message| message["info"]["role"] == "assistant");
            answers.flat_map(|message| list(&message["parts"])).any(&part)
        };
        self.abort_when(replies, assistants)
    }

    fn abort_when(&self, replies: impl IntoIterator<Item = Reply>, ready: impl Fn(&Value) -> bool) -> Done {
        self.provider.script(&self.marker(), replies);
        let session = self.session()?;
        self.during(&session, || {
            self.wait("what is to be aborted", || Ok(ready(&self.messages(&session)?)))?;
            std::thread::sleep(Duration::from_millis(700));
            self.abort_now(&session)
        })
    }

    fn ask_question(&self, then: impl FnOnce(&str, &str) -> Done) -> Done {
        let question = json!({"questions": [{"question": "Which one?", "header": "Choice",
            "options": [{"label": "One", "description": "the first"}, {"label": "Two", "description": "the second"}]}]});
        self.provider.script(&self.marker(), [vec![Event::Text("I have to ask."), Event::Tool("question", question)]]);
        let session = self.session()?;
        self.during(&session, || {
            let asked = Mutex::new(None);
            self.wait("the question", || {
                let questions = self.server.get("/question")?;
                let mine = list(&questions).iter().find(|question| question["sessionID"] == session.as_str());
                *asked.lock().expect("an id") = mine.and_then(|question| question["id"].as_str()).map(str::to_owned);
                // A tool that is not offered is over at once.
                let over = |part: &Value| {
                    is_tool(part) && ["error", "completed"].iter().any(|at| part["state"]["status"] == *at)
                };
                Ok(mine.is_some() || count(&self.messages(&session)?, over) > 0)
            })?;
            let Some(asked) = asked.into_inner().expect("an id") else {
                return Err(Missing::NotApplicable("this version does not offer its question tool here".to_owned()));
            };
            then(&session, &asked)
        })
    }

    fn compact(&self, session: &str) -> Done {
        self.server.post(&format!("/session/{session}/summarize"), &self.model())?;
        Ok(())
    }

    fn revert(&self, session: &str, to: &Value) -> Done {
        self.server.post(&format!("/session/{session}/revert"), to)?;
        Ok(())
    }

    fn revert_to_second_turn(&self) -> Done {
        let session = self.known()?;
        let messages = self.messages(&session)?;
        let second =
            list(&messages).iter().rfind(|message| message["info"]["role"] == "user").cloned().unwrap_or_default();
        self.revert(&session, &json!({"messageID": second["info"]["id"]}))
    }
}

/// All stories, played with each of `setups` to one opencode: the store that they leave, at `store`, and its sessions.
#[derive(Debug)]
pub(crate) struct Played {
    /// The folder that it was played in, which is gone now.
    pub(crate) work: PathBuf,
    pub(crate) sessions: BTreeMap<Key, String>,
    pub(crate) missing: Vec<(Key, Missing)>,
}

/// Which stories to play: all, unless UNSTICK_E2E_STORIES names some.
fn wanted() -> impl Fn(&str) -> bool {
    let said = std::env::var("UNSTICK_E2E_STORIES").ok();
    let known = |name: &str| STORIES.iter().any(|story| story.0 == name) || KILLED.iter().any(|story| story.0 == name);
    for name in said.iter().flat_map(|said| said.split_whitespace()) {
        assert!(known(name), "UNSTICK_E2E_STORIES: there is no story {name:?}");
    }
    move |name| said.as_ref().is_none_or(|said| said.split_whitespace().any(|one| one == name))
}

pub(crate) fn play(version: &Version, setups: &[&'static Setup], store: &Path) -> Played {
    let provider = Provider::start();
    let home = Home::new(version, provider.port(), Snapshots::On);
    fs::write(home.work().join("dot.png"), DOT).expect("an image in the work folder");
    let server = Server::start(&home);
    let sessions = Mutex::new(BTreeMap::new());
    let missing = Mutex::new(Vec::new());
    let stage =
        |name, setup| Stage { server: &server, provider: &provider, home: &home, setup, name, sessions: &sessions };
    let wanted = wanted();
    let both = |story| setups.iter().map(move |setup| (story, *setup));
    let jobs: Vec<(&Story, &'static Setup)> = STORIES.iter().filter(|story| wanted(story.0)).flat_map(both).collect();
    side_by_side(16, &jobs, |((name, story), setup)| {
        if let Err(why) = story(&stage(name, *setup)) {
            missing.lock().expect("a list").push(((*setup, (*name).to_owned()), why));
        }
    });
    let both = |story| setups.iter().map(move |setup| (story, *setup));
    let jobs: Vec<(&Crash, &'static Setup)> = KILLED.iter().filter(|story| wanted(story.0)).flat_map(both).collect();
    std::thread::scope(|scope| {
        for ((name, replies, _), setup) in &jobs {
            let (stage, missing) = (stage(name, *setup), &missing);
            let lost = move |why| missing.lock().expect("a list").push(((*setup, (*name).to_owned()), why));
            let session = match stage.session() {
                Ok(session) => session,
                Err(why) => {
                    lost(why);
                    continue;
                }
            };
            provider.script(&stage.marker(), replies());
            scope.spawn(move || {
                // The crash ends this call.
                let stage = stage;
                let _no_answer = stage.say_to(&session, "build", &stage.words());
                if name.starts_with("compact") {
                    let _no_answer = stage.compact(&session);
                }
            });
        }
        for ((name, _, ready), setup) in &jobs {
            let stage = stage(name, *setup);
            let stored = stage.known().and_then(|session| {
                stage.wait("what the crash is to interrupt", || Ok(ready(&stage.messages(&session)?)))
            });
            if let Err(why) = stored {
                missing.lock().expect("a list").push(((*setup, (*name).to_owned()), why));
            }
        }
        std::thread::sleep(Duration::from_millis(700));
        server.kill();
    });
    drop(server);
    rows::copy(&home.store(), store);
    let mut played = Played {
        work: home.work(),
        sessions: sessions.into_inner().expect("a map"),
        missing: missing.into_inner().expect("a list"),
    };
    for (key, _) in &played.missing {
        played.sessions.remove(key);
    }
    played
}

const DOT: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8,
    6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 0x0d, b'I', b'D', b'A', b'T', 0x78, 0xda, 0x63, 0x64, 0x60, 0xf8,
    0x5f, 0x0f, 0, 2, 0x87, 1, 0x80, 0xeb, 0x47, 0xba, 0x92, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60,
    0x82,
];
