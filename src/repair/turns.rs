//! The turns that a revert or a fork would bring up: each mended by itself, all proven together.
//!
//! What is done about such a turn is about its own rows. So each is looked at without what stands before it, and what
//! comes of all of them is held against the session once: that takes as long as the session is, however many they are. If
//! it does not hold, it is tried with groups of them. A turn of which its own rows do not tell everything (nothing of its
//! prompt is sent) has to be looked at with all that stands before it.

use std::collections::HashSet;
use std::rc::Rc;

use super::change::{Change, apply_change};
use super::proof::{far_from_window, near_window, unchanged, worse};
use super::proposals::{Next, next, touches_revert};
use super::step::Step;
use crate::diagnosis::{Include, Includes, LeftReason, ends_with_answer};
use crate::error::Result;
use crate::history::{Message, PartKind, Session};
use crate::replay::{Prefixes, RULE_SETS, Sdk, overflow_tokens, view};
use crate::rows::Lookup;

/// A history on its way, and the steps so far.
pub(super) type Reached = (Session, Vec<Step>);

/// What the loop compares with a model's window, by rule set, in tokens.
type Readings = [f64; RULE_SETS.len()];

/// How many changes of one turn are made before it is given up.
const MOST_CHANGES: u32 = 256;

/// Mends turns.
pub(super) struct Turns<'a> {
    pub(super) sdk: &'a Sdk,
    pub(super) includes: Includes,
    pub(super) rows: &'a dyn Lookup,
}

/// What came of one turn.
enum Outcome {
    /// It is mended.
    Mended(Box<Reached>),
    /// It cannot be helped.
    Left,
    /// Its own rows do not tell.
    Unclear,
}

/// What came of turns, unproven.
struct Attempt {
    reached: Reached,
    /// The prompts that stand behind turns that were mended.
    mended: HashSet<String>,
    unclear: Vec<String>,
}

impl Turns<'_> {
    /// The session with the turns before these prompts mended, proven against the session as it was; and the prompts behind
    /// those that have to be looked at with all that stands before them. One that cannot be helped is left.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub(super) fn mend(&self, at: Reached, cuts: &[String]) -> Result<(Reached, Vec<String>)> {
        // Near a model's window no step may move what the overflow check reads, even if a later one moves it back. What
        // that is after each step is plain in histories whose newest row is the last.
        let near = !self.includes.has(Include::NearWindow) && near_window(&at.0);
        if cuts.len() < 2 || near && !ends_with_newest(&at.0) {
            return Ok((at, cuts.to_vec()));
        }
        if let Some(mended) = self.together(&at, cuts)? {
            return Ok(mended);
        }
        let (mut at, mut unclear) = (at, Vec::new());
        for group in cuts.chunks(cuts.len().isqrt()) {
            match self.together(&at, group)? {
                Some((further, more)) => {
                    at = further;
                    unclear.extend(more);
                }
                None => unclear.extend_from_slice(group),
            }
        }
        Ok((at, unclear))
    }

    /// [`Turns::mend`], of turns that are proven at once; `None` where that does not hold.
    fn together(&self, at: &Reached, cuts: &[String]) -> Result<Option<(Reached, Vec<String>)>> {
        let attempt = self.attempt(at, cuts)?;
        Ok(self.holds(&at.0, &attempt).then_some((attempt.reached, attempt.unclear)))
    }

    fn attempt(&self, at: &Reached, cuts: &[String]) -> Result<Attempt> {
        let (session, mut steps) = (&at.0, at.1.clone());
        let cuts: HashSet<&str> = cuts.iter().map(String::as_str).collect();
        let named: HashSet<&str> = session.messages.iter().flat_map(|message| names(message)).collect();
        let finished = session.messages.iter().rposition(|m| m.assistant().is_some_and(|a| a.finish.is_some()));
        let mut read = readings(session).map(Option::unwrap_or_default);
        let (mut mended, mut unclear) = (HashSet::new(), Vec::new());
        let (mut messages, mut prompt) = (Vec::with_capacity(session.messages.len()), 0);
        let mut before = Prefixes::new(&session.messages, self.sdk);
        for (place, message) in session.messages.iter().enumerate().filter(|(_, message)| message.user().is_some()) {
            let turn = &session.messages[prompt..place];
            turn.iter().for_each(|_| before.advance());
            prompt = place;
            let outcome = if cuts.contains(message.id()) && !RULE_SETS.iter().any(|set| before.pending(set)) {
                // Where a finished answer follows, the overflow check reads that one whatever becomes of this turn.
                let read = finished.is_none_or(|finished| finished < place).then_some(&mut read);
                self.turn(session, turn, &named, read)?
            } else {
                // Where a task is pending, the loop works that off first.
                Outcome::Left
            };
            match outcome {
                Outcome::Mended(mended_turn) => {
                    let (turn, how) = *mended_turn;
                    messages.extend(turn.messages);
                    steps.extend(how);
                    mended.insert(message.id().to_owned());
                    continue;
                }
                Outcome::Unclear => unclear.push(message.id().to_owned()),
                Outcome::Left => {}
            }
            messages.extend_from_slice(turn);
        }
        messages.extend_from_slice(&session.messages[prompt..]);
        let mut reached = Session { info: session.info.clone(), messages, depth: session.depth };
        reached.sort();
        Ok(Attempt { reached: (reached, steps), mended, unclear })
    }

    /// Makes the first changes that are proposed, that leave no row behind that names one which is gone, and that leave what
    /// the overflow check reads, where it may read this turn: `read` is what it reads.
    fn turn(
        &self,
        session: &Session,
        turn: &[Rc<Message>],
        named: &HashSet<&str>,
        mut read: Option<&mut Readings>,
    ) -> Result<Outcome> {
        let mut info = session.info.clone();
        info.revert = None;
        let mut now = Session { info, messages: turn.to_vec(), depth: session.depth };
        let (mut steps, mut reads) = (Vec::new(), read.as_deref().copied());
        for _ in 0..MOST_CHANGES {
            let changes = match next(&now, std::slice::from_ref(self.sdk), self.rows)? {
                Next::Resumes => {
                    if let (Some(read), Some(reads)) = (read.as_deref_mut(), reads) {
                        *read = reads;
                    }
                    return Ok(Outcome::Mended(Box::new((now, steps))));
                }
                Next::Leave(LeftReason::SplitInsideBlock) => return Ok(Outcome::Left),
                Next::Leave(_) => return Ok(Outcome::Unclear),
                Next::Try(changes) => changes,
            };
            let stays = |change: &Change| {
                let dangling = matches!(change, Change::Remove { id, .. } if named.contains(id.as_str()));
                !dangling && !touches_revert(session, change)
            };
            let possible = changes.into_iter().filter(stays);
            let mut possible =
                possible.filter_map(|change| Some((apply_change(&now, &change).ok()?, change))).peekable();
            if possible.peek().is_none() {
                return Ok(Outcome::Unclear);
            }
            let read_after = |after: &Session| reads.map_or(Some(None), |reads| self.reads_on(reads, after).map(Some));
            let taken = possible.find_map(|(after, change)| Some((read_after(&after)?, after, change)));
            let Some((read_then, after, change)) = taken else { return Ok(Outcome::Left) };
            steps.extend(Step::of(&change, &now, &after));
            (now, reads) = (after, read_then);
        }
        Ok(Outcome::Unclear)
    }

    /// What the overflow check reads once the newest turn is like that; `None` where a model's window may matter to the
    /// difference.
    fn reads_on(&self, before: Readings, turn: &Session) -> Option<Readings> {
        let mut after = before;
        for (tokens, read) in after.iter_mut().zip(readings(turn)) {
            let read = read.unwrap_or(*tokens);
            if read != *tokens && !far_from_window(*tokens, read) && !self.includes.has(Include::NearWindow) {
                return None;
            }
            *tokens = read;
        }
        Some(after)
    }

    /// Whether an attempt has mended what it says and changed nothing else.
    fn holds(&self, before: &Session, Attempt { reached: (after, _), mended, .. }: &Attempt) -> bool {
        let ids =
            |session: &'_ Session| session.messages.iter().map(|m| m.id().to_owned()).collect::<HashSet<String>>();
        let (was, is) = (ids(before), ids(after));
        let gone = |id: &&str| was.contains(*id) && !is.contains(*id);
        is.len() == after.messages.len()
            && !after.messages.iter().flat_map(|message| names(message)).any(|id| gone(&id))
            && !ends_with_answer(after, self.sdk).iter().any(|prompt| mended.contains(prompt))
            && unchanged(before, after, std::slice::from_ref(self.sdk), self.includes).is_none()
            && !worse(before, after, self.sdk)
    }
}

/// The rows that a row names: an answer its prompt, a compaction where the history that it keeps begins.
pub(super) fn names(message: &Message) -> impl Iterator<Item = &str> {
    let tails = message.parts.iter().filter_map(|part| match &part.kind {
        PartKind::Compaction { tail_start_id } => tail_start_id.as_deref(),
        _ => None,
    });
    message.assistant().and_then(|a| a.parent_id.as_deref()).into_iter().chain(tails)
}

/// Whether the newest row that the loop sees is the last one by every measure, from whichever row on: clocks have not jumped,
/// no revert is staged, and no compaction keeps rows that are replayed after its summary.
fn ends_with_newest(session: &Session) -> bool {
    let rows = &session.messages;
    let keeps = |message: &Rc<Message>| {
        message.parts.iter().any(|part| matches!(part.kind, PartKind::Compaction { tail_start_id: Some(_) }))
    };
    session.info.revert.is_none()
        && !rows.iter().any(keeps)
        && rows.windows(2).all(|rows| rows[0].row.id < rows[1].row.id && rows[0].created <= rows[1].created)
}

fn readings(session: &Session) -> [Option<f64>; RULE_SETS.len()] {
    std::array::from_fn(|at| RULE_SETS.get(at).and_then(|set| overflow_tokens(&view(&session.messages, set), set)))
}
