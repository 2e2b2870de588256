//! Another process that has a store open: this test program, run again.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rusqlite::Connection;

use crate::place::start;

const STORE: &str = "UNSTICK_TEST_STORE_TO_HOLD";

/// The process. Dropped, it is killed as by a crash.
pub struct Holder {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// Runs each line of its input as SQL on one connection, and closes that at the end of input.
#[test]
#[ignore = "the other process of the tests about stores in use"]
fn holds_a_store_open() {
    let Ok(path) = std::env::var(STORE) else { return };
    let db = Connection::open(path).unwrap();
    for line in std::io::stdin().lines() {
        db.execute_batch(&line.unwrap()).unwrap();
        println!("\nsql is done");
    }
    db.close().unwrap();
}

impl Holder {
    /// A process that has opened the store and run `sql`.
    pub fn start(db: &Path, sql: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["holder::holds_a_store_open", "--exact", "--ignored", "--nocapture"])
            .env(STORE, db)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = start(&mut command);
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut holder = Self { child, stdin, stdout };
        holder.run(sql);
        holder
    }

    /// Runs `sql` there and waits until it is done.
    pub fn run(&mut self, sql: &str) {
        let line = sql.replace('\n', " ");
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut said = String::new();
        while !said.ends_with("sql is done\n") {
            assert!(self.stdout.read_line(&mut said).unwrap() > 0, "{sql}: {said}");
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process as a person would, with its connection closed.
    pub fn close(mut self) {
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends the process as a crash would.
    pub fn kill(self) {}
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
