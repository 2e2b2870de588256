//! A program in a terminal: what it shows is read, and what a person types is written.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long something that has to come may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program and its terminal, 100 columns wide unless said. Dropped, it is killed.
pub struct Pty {
    child: Child,
    master: File,
    pieces: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    /// Where the text begins that nobody has waited for yet.
    from: usize,
}

impl Pty {
    /// Starts the program by `start` with its standard streams in the terminal.
    pub fn start(command: Command, start: impl FnOnce(&mut Command) -> Child) -> Self {
        Self::sized(command, start, 40, 100)
    }

    /// [`Pty::start`], in a terminal of that size.
    pub fn sized(mut command: Command, start: impl FnOnce(&mut Command) -> Child, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let side = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
        command.env("TERM", "xterm-256color").stdin(side()).stdout(side()).stderr(side());
        let child = start(&mut command);
        // The command keeps its ends of the terminal open: the last one must be the program's.
        drop(command);
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // A terminal whose other side has gone says so by an error.
            while let Ok(n) = reader.read(&mut piece) {
                if n == 0 || sender.send(piece[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, master, pieces, seen: Vec::new(), from: 0 }
    }

    /// Waits until the text is shown, after all that was waited for before.
    pub fn shows(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let rest = &self.seen[self.from..];
            if let Some(at) = rest.windows(text.len()).position(|w| w == text.as_bytes()) {
                self.from += at + text.len();
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.seen.extend(piece),
                Err(e) => panic!("{text:?} was not shown ({e}): {}", String::from_utf8_lossy(&self.seen)),
            }
        }
    }

    /// Types the line.
    pub fn types(&mut self, line: &str) {
        format!("{line}\n").chars().for_each(|key| self.presses(key));
    }

    /// Presses the one key.
    pub fn presses(&mut self, key: char) {
        write!(self.master, "{key}").unwrap();
    }

    /// Waits for the end. Returns the exit code and all that was shown.
    pub fn ends(mut self) -> (i32, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end: {}", String::from_utf8_lossy(&self.seen));
            std::thread::sleep(Duration::from_millis(10));
        };
        while let Ok(piece) = self.pieces.recv_timeout(Duration::from_secs(5)) {
            self.seen.extend(piece);
        }
        (status.code().unwrap_or(-1), String::from_utf8_lossy(&self.seen).into_owned())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
