//! Stores and calls with which nothing can be done: each has its own error, exit code 2, and changes nothing.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::place::{Files, Place, Run};

const SCAN: &[&str] = &["scan"];
const REPAIR: &[&str] = &["repair", "--yes"];

/// What a run must come to: exit code 2 and `code`, with `words` in what a person reads, for the human and
/// the JSON form alike, and nothing changed.
fn fails(folder: &Path, run: impl Fn(&[&str]) -> Run, args: &[&str], code: &str, words: &[&str]) {
    let before = Files::of(folder);
    let human = run(args).exits(2);
    assert_eq!(human.stdout, "", "{human:?}");
    assert!(human.stderr.starts_with(&format!("error[{code}]: ")), "{human:?}");
    for label in ["\n  cause: ", "\n  next:  "] {
        assert_eq!(human.stderr.matches(label).count(), 1, "{human:?}");
    }
    let json = run(&[args, &["--json"]].concat()).exits(2);
    let document = json.json();
    assert_eq!(document["schema_version"], 1, "{json:?}");
    assert_eq!(document["error"]["code"], code, "{json:?}");
    let text = |name: &str| document["error"][name].as_str().unwrap();
    let message = text("message");
    assert!(!text("cause").is_empty() && !text("hint").is_empty(), "{json:?}");
    // Lines are broken between words.
    let human_words = human.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(human_words.contains(word), "{word} is not in {human:?}");
        assert!(message.contains(word), "{word} is not in {message}");
    }
    before.assert_still(&Files::of(folder), &format!("{args:?}"));
}

/// The same for the place's store.
fn refuses(place: &Place, args: &[&str], code: &str, words: &[&str]) {
    fails(&place.folder(), |args| place.unstick(args), args, code, words);
    place.leaves_nothing_elsewhere(&format!("{args:?}"));
}

/// Neither scan nor repair can do anything with the place's store, and both say so alike.
fn is_no_store(place: &Place, code: &str, words: &[&str]) {
    refuses(place, SCAN, code, words);
    refuses(place, REPAIR, code, words);
}

/// The same for a place whose file holds these bytes.
fn holding(bytes: &[u8]) -> Place {
    let place = Place::empty();
    fs::write(place.db(), bytes).unwrap();
    place
}

/// A real store after `sql`.
fn after(sql: &str) -> Place {
    let place = Place::named("1.18.33");
    place.edit(sql);
    place
}

/// Without `--db`, in a home whose data folder is `data`.
fn finds_nothing(place: &Place, words: &[&str]) {
    for args in [SCAN, REPAIR] {
        fails(&place.root().join("data"), |args| Run::of(&mut place.command(args)), args, "no-store", words);
    }
}

#[test]
fn no_store_says_where_it_was_looked_for() {
    let place = Place::empty();
    let looked = place.root().join("data/opencode/opencode.db");
    finds_nothing(&place, &["no opencode store found", looked.to_str().unwrap()]);
}

#[test]
fn a_data_folder_from_before_the_database_is_said_to_be_one() {
    let place = Place::empty();
    fs::create_dir_all(place.root().join("data/opencode/storage/session/p")).unwrap();
    finds_nothing(&place, &["JSON files of opencode before 1.2"]);
}

#[test]
fn several_channels_are_a_choice_for_the_person() {
    let place = Place::empty();
    let folder = place.root().join("data/opencode");
    fs::create_dir(&folder).unwrap();
    for channel in ["dev", "nightly"] {
        fs::write(folder.join(format!("opencode-{channel}.db")), "").unwrap();
    }
    finds_nothing(&place, &["several", "opencode-dev.db", "opencode-nightly.db"]);
}

#[test]
fn a_path_with_nothing_there() {
    is_no_store(&Place::empty(), "store-missing", &["there is no file at", "opencode.db"]);
}

#[test]
fn a_folder() {
    let place = Place::empty();
    fs::create_dir(place.db()).unwrap();
    is_no_store(&place, "store-is-folder", &["is a folder"]);
}

#[test]
fn an_empty_file() {
    is_no_store(&holding(b""), "store-empty", &["is empty"]);
}

#[test]
fn random_bytes() {
    let bytes: Vec<u8> = (0..40_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    is_no_store(&holding(&bytes), "not-sqlite", &["is not a SQLite database"]);
}

#[test]
fn a_file_that_is_shorter_than_a_header() {
    is_no_store(&holding(b"SQLite form"), "not-sqlite", &["is not a SQLite database"]);
}

#[test]
fn a_header_and_nothing_more() {
    is_no_store(&holding(b"SQLite format 3\0"), "not-sqlite", &["is not a SQLite database"]);
}

#[test]
fn somebody_elses_database() {
    let place = Place::empty();
    place.edit("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)");
    is_no_store(&place, "not-opencode", &["not an opencode store", "session, message, part"]);
}

#[test]
fn a_missing_table() {
    is_no_store(&after("DROP TABLE part"), "not-opencode", &["no table part"]);
}

#[test]
fn a_missing_column() {
    let place = after("ALTER TABLE part DROP COLUMN time_updated");
    is_no_store(&place, "unknown-schema", &["`part` has no column `time_updated`"]);
}

#[test]
fn a_column_of_another_type() {
    let place = Place::named("1.18.33");
    place.edit_schema("message", "`data` text", "`data` blob");
    is_no_store(&place, "unknown-schema", &["`message.data` is BLOB, expected TEXT"]);
}

#[test]
fn a_key_of_another_column() {
    let place = after(
        "CREATE TABLE other (id TEXT, session_id TEXT PRIMARY KEY, time_created INTEGER, time_updated INTEGER, data TEXT);
         DROP TABLE message; ALTER TABLE other RENAME TO message;",
    );
    is_no_store(&place, "unknown-schema", &["the primary key of `message`"]);
}

#[test]
fn a_view_in_place_of_a_table() {
    let place = after("ALTER TABLE message RENAME TO message_v2; CREATE VIEW message AS SELECT * FROM message_v2");
    is_no_store(&place, "unknown-schema", &["`message` is a view"]);
}

#[test]
fn a_trigger() {
    let place = after("CREATE TRIGGER log AFTER UPDATE ON part BEGIN DELETE FROM todo; END");
    is_no_store(&place, "unknown-schema", &["trigger `log`", "`part`"]);
}

#[test]
fn a_trigger_that_spells_the_table_otherwise() {
    let place = after("CREATE TRIGGER log AFTER DELETE ON \"Message\" BEGIN DELETE FROM todo; END");
    is_no_store(&place, "unknown-schema", &["trigger `log`"]);
}

#[test]
fn a_generated_column() {
    let place = after("ALTER TABLE part ADD COLUMN kind TEXT AS (json_extract(data, '$.type'))");
    is_no_store(&place, "unknown-schema", &["`part.kind` is generated"]);
}

#[test]
fn a_table_without_rowids() {
    let place = after(
        "CREATE TABLE other (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER, time_updated INTEGER, data TEXT)
         WITHOUT ROWID; DROP TABLE message; ALTER TABLE other RENAME TO message;",
    );
    is_no_store(&place, "unknown-schema", &["`message` is not an ordinary table"]);
}

#[test]
fn a_virtual_table() {
    let place = after("DROP TABLE message; CREATE VIRTUAL TABLE message USING fts5(id, session_id, data)");
    is_no_store(&place, "unknown-schema", &["`message` is not an ordinary table"]);
}

#[test]
fn a_column_that_nobody_knows_is_read_past_but_not_written_past() {
    let place = after("ALTER TABLE message ADD COLUMN seq INTEGER");
    place.unstick(SCAN).exits(1);
    let before = place.files();
    let run = place.repair_with(&[]).exits(2);
    assert_eq!(run.json()["error"]["code"], "unknown-schema", "{run:?}");
    before.assert_still(&place.files(), "a repair");
}

/// The bytes of the page with that number are `bytes` from `at` on.
fn overwrite_page(place: &Place, page: u64, at: u64, bytes: &[u8]) {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(place.db()).unwrap();
    let mut size = [0; 2];
    file.seek(SeekFrom::Start(16)).unwrap();
    file.read_exact(&mut size).unwrap();
    file.seek(SeekFrom::Start((page - 1) * u64::from(u16::from_be_bytes(size)) + at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// The first page of a table's tree.
fn root_page(place: &Place, table: &str) -> u64 {
    place.text(&format!("SELECT CAST(rootpage AS TEXT) FROM sqlite_schema WHERE name = '{table}'")).parse().unwrap()
}

#[test]
fn a_malformed_root_page() {
    for table in ["session", "message", "part"] {
        let place = Place::named("1.18.33");
        overwrite_page(&place, root_page(&place, table), 0, &[0xAB; 64]);
        is_no_store(&place, "store-corrupt", &["is damaged"]);
    }
}

#[test]
fn a_malformed_page_behind_the_root() {
    let db = fs::read(crate::fixtures::one("1.18.33").db).unwrap();
    let number = |at: usize, bytes: usize| db[at..at + bytes].iter().fold(0, |n, b| n << 8 | usize::from(*b));
    for table in ["message", "part"] {
        let root = usize::try_from(root_page(&Place::named("1.18.33"), table) - 1).unwrap() * 4096;
        assert_eq!(db[root], 5, "the root of `{table}` is an inner page");
        let cells = (0..number(root + 3, 2)).map(|n| number(root + number(root + 12 + 2 * n, 2), 4));
        let children: Vec<usize> = cells.chain([number(root + 8, 4)]).collect();
        assert!(children.len() > 2, "{table}");
        // The first and the last are read for the least and the greatest rowid, one between them by the walk alone.
        for child in [children[0], children[children.len() / 2], children[children.len() - 1]] {
            let place = Place::named("1.18.33");
            // The number of cells and where they begin.
            overwrite_page(&place, child as u64, 3, &[0xFF; 4]);
            is_no_store(&place, "store-corrupt", &["is damaged"]);
        }
    }
}

#[test]
fn a_store_that_was_cut_off() {
    let place = Place::named("1.18.33");
    let bytes = fs::read(place.db()).unwrap();
    fs::write(place.db(), &bytes[..bytes.len() / 2]).unwrap();
    is_no_store(&place, "store-corrupt", &["is damaged"]);
}

#[cfg(unix)]
mod permissions {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Gives the mode back when it goes, so that the place can be removed.
    struct Mode<'a>(&'a Path, fs::Permissions);

    impl<'a> Mode<'a> {
        fn set(path: &'a Path, mode: u32) -> Self {
            let was = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            Self(path, was)
        }
    }

    impl Drop for Mode<'_> {
        fn drop(&mut self) {
            fs::set_permissions(self.0, self.1.clone()).unwrap();
        }
    }

    #[test]
    fn a_store_that_may_not_be_read() {
        let place = Place::named("1.18.33");
        let db = place.db();
        let _mode = Mode::set(&db, 0o000);
        if fs::read(&db).is_ok() {
            println!("skipped: this user may read everything");
            return;
        }
        for args in [SCAN, REPAIR] {
            let run = place.unstick(&[args, &["--json"]].concat()).exits(2);
            assert_eq!(run.json()["error"]["code"], "no-permission", "{run:?}");
        }
    }

    /// What is shown is shown, but nothing is written.
    fn is_read_but_not_written(place: &Place) {
        place.unstick(SCAN).exits(1);
        let before = place.files();
        let run = place.repair_with(&[]).exits(2);
        assert_eq!(run.json()["error"]["code"], "no-permission", "{run:?}");
        let run = place.unstick(REPAIR).exits(2);
        assert!(run.stderr.contains("no permission to write"), "{run:?}");
        before.assert_still(&place.files(), "a repair");
        place.leaves_nothing_elsewhere("a repair");
    }

    #[test]
    fn a_store_that_may_not_be_written() {
        let place = Place::named("1.18.33");
        let db = place.db();
        let _mode = Mode::set(&db, 0o444);
        is_read_but_not_written(&place);
    }

    #[test]
    fn a_folder_that_may_not_be_written() {
        let place = Place::named("1.18.33");
        let folder = place.folder();
        let _mode = Mode::set(&folder, 0o555);
        is_read_but_not_written(&place);
    }

    #[test]
    fn a_pipe() {
        let place = Place::empty();
        let made = std::process::Command::new("mkfifo").arg(place.db()).status().unwrap();
        assert!(made.success());
        // Whoever opens it waits for a writer, for ever.
        let mut scan = crate::place::start(&mut place.on_store(&["scan", "--json"]));
        for _ in 0..1200 {
            if scan.try_wait().unwrap().is_some() {
                let run = Run::ended(scan).exits(2);
                assert_eq!(run.json()["error"]["code"], "not-sqlite", "{run:?}");
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        scan.kill().unwrap();
        scan.wait().unwrap();
        panic!("a scan of a pipe does not end");
    }
}

#[test]
fn a_session_that_is_none() {
    let place = Place::named("1.18.33");
    for args in [&["scan", "nobody"][..], &["repair", "--yes", "nobody"], &["repair", "rstpar", "", "--yes"]] {
        refuses(&place, args, "no-such-session", &["no session is called"]);
    }
}

#[test]
fn a_session_that_is_several() {
    let place = Place::named("1.18.33");
    refuses(&place, &["scan", "ses_"], "several-sessions", &["`ses_` is 22 sessions", "ses_e02a"]);
    refuses(&place, &["repair", "--yes", "rstpar", "ses_"], "several-sessions", &["22 sessions"]);
    place.edit("UPDATE session SET title = 'rstpar' WHERE title = 'rstthink'");
    refuses(&place, &["repair", "--yes", "rstpar"], "several-sessions", &["`rstpar` is 2 sessions"]);
}

#[test]
fn a_session_by_id_prefix_or_title_is_the_only_one_that_is_repaired() {
    let id = crate::fixtures::one("1.18.33").id("rstpar").to_owned();
    for name in [&id, &id[..id.len() - 3], "rstpar"] {
        let place = Place::named("1.18.33");
        let before = place.scan();
        assert_eq!(before.titles("stuck").len(), 5);
        let run = place.repair_with(&[name]).exits(0).json();
        let planned = run["plan"]["sessions"].as_array().unwrap();
        assert_eq!((planned.len(), planned[0]["id"].as_str()), (1, Some(id.as_str())), "{name}");
        assert_eq!(place.scan().titles("stuck").len(), 4, "{name}");
        let scan = place.unstick(&["scan", name, "--json"]).exits(0).json();
        assert_eq!(scan["sessions"].as_array().unwrap().len(), 1, "{name}");
    }
}

#[test]
fn nobody_to_ask_is_no_yes() {
    let place = Place::named("1.18.33");
    let before = place.files();
    let human = place.unstick(&["repair"]).exits(2);
    assert!(human.stderr.contains("nobody to ask") && human.stderr.contains("--yes"), "{human:?}");
    let json = place.unstick(&["repair", "--json"]).exits(2);
    assert_eq!(json.json()["error"]["code"], "needs-yes", "{json:?}");
    before.assert_still(&place.files(), "a repair without a yes");
}

#[test]
fn a_time_that_is_none() {
    for when in ["yesterday", "2026-13-01", "-3d", "d", ""] {
        refuses(&Place::named("1.18.33"), &["scan", &format!("--since={when}")], "bad-time", &["is no time"]);
    }
}

/// Arguments that the command line itself does not take.
fn is_no_call(args: &[&str], words: &[&str]) {
    let place = Place::named("1.18.33");
    refuses(&place, &[SCAN, args].concat(), "usage", words);
    refuses(&place, &[REPAIR, args].concat(), "usage", words);
}

#[test]
fn a_package_that_is_none() {
    is_no_call(&["--sdk", "litellm"], &["--sdk", "PROVIDER[/MODEL]=PACKAGE"]);
    is_no_call(&["--sdk", "=x"], &["names no provider"]);
}

#[test]
fn two_packages_for_one_provider() {
    let place = Place::named("1.18.33");
    let args = ["scan", "--sdk", "mock=@ai-sdk/openai"];
    refuses(&place, &args, "usage", &["--sdk names two packages for mock"]);
}

#[test]
fn a_version_that_is_none() {
    is_no_call(&["--opencode", "latest"], &["--opencode", "`latest` is no opencode version"]);
}

#[test]
fn a_flag_that_is_none() {
    is_no_call(&["--force"], &["--force"]);
}

#[test]
fn a_wait_that_is_none() {
    refuses(&Place::named("1.18.33"), &["repair", "--wait", "soon"], "usage", &["`soon` is no number of seconds"]);
}

#[test]
fn help_and_version_are_no_errors() {
    let place = Place::empty();
    for args in [&["--help"][..], &["scan", "--help"], &["repair", "-h"], &["--version"]] {
        let run = Run::of(&mut place.command(args)).exits(0);
        assert!(run.stdout.contains("unstick") && run.stderr.is_empty(), "{run:?}");
    }
}
