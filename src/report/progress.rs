//! A progress bar on standard error, where somebody sees it and it takes longer than a moment.

use std::fmt;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How long a command may take before a bar is shown.
const MOMENT: Duration = Duration::from_millis(300);

/// How much is done in a second, in whole numbers.
fn rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count; the cast saturates")]
    // A bar that cannot be drawn is no reason to stop.
    let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
}

/// Counts what is done; shows it or not.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    shown: bool,
    wanted: bool,
    label: &'static str,
    total: u64,
}

impl Progress {
    /// Nothing is shown unless `wanted` and standard error is a terminal.
    #[must_use]
    pub fn new(label: &'static str, wanted: bool) -> Self {
        let wanted = wanted && std::io::stderr().is_terminal();
        Self { bar: None, started: Instant::now(), shown: false, wanted, label, total: 0 }
    }

    /// How much there is to do.
    pub fn total(&mut self, total: u64) {
        self.total = total;
    }

    /// How much is done.
    pub fn at(&mut self, done: u64) {
        if !self.wanted {
            return;
        }
        if !self.shown && self.started.elapsed() > MOMENT {
            self.shown = true;
            let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr_with_hz(10));
            if let Ok(style) =
                ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len}  {rate}/s  {eta} left")
            {
                bar.set_style(style.with_key("rate", rate));
            }
            bar.set_message(self.label);
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Takes the bar away.
    pub fn done(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done();
    }
}
