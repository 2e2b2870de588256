//! A store that is built row by row, with a clock that goes on by a second for each row.

use std::cell::Cell;

use rusqlite::params;
use serde_json::Value;

use crate::place::Place;

/// 1 November 2026, in ms.
const START: i64 = 1_793_491_200_000;

/// The store, made by opencode 1.18.34 as far as its rows say.
pub(crate) struct Built {
    pub(crate) place: Place,
    rows: Cell<i64>,
}

impl Built {
    pub(crate) fn new() -> Self {
        let place = Place::empty();
        place.sql().execute_batch(include_str!("built.sql")).unwrap();
        Self { place, rows: Cell::new(0) }
    }

    fn next(&self) -> (i64, String) {
        let n = self.rows.get() + 1;
        self.rows.set(n);
        (START + n * 1_000, format!("{n:012x}{n:014}"))
    }

    /// Adds a session, whose title is its id.
    pub(crate) fn session(&self, name: &str) {
        let (at, _) = self.next();
        let insert = "INSERT INTO session VALUES (?1, 'p', NULL, 's', '/', ?1, '1.18.34', NULL, ?2, ?2)";
        self.place.sql().execute(insert, params![name, at]).unwrap();
    }

    /// Adds a message with its parts, which `of` makes of the time in ms. Returns its id.
    pub(crate) fn message(&self, session: &str, of: impl FnOnce(i64) -> (Value, Vec<Value>)) -> String {
        let (at, id) = self.next();
        let (db, id) = (self.place.sql(), format!("msg_{id}"));
        let (data, parts) = of(at);
        let message = "INSERT INTO message VALUES (?1, ?2, ?3, ?3, ?4)";
        db.execute(message, params![id, session, at, data.to_string()]).unwrap();
        for (n, part) in parts.iter().enumerate() {
            let insert = "INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
            let part_id = format!("prt_{}_{n:03}", &id[4..]);
            db.execute(insert, params![part_id, id, session, at, part.to_string()]).unwrap();
        }
        id
    }
}
