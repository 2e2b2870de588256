//! Ctrl-C while a large store is read.

use std::process::{Command, Stdio};

use opencode_unstick::store::holders;

use crate::place::{Place, start};

#[test]
fn ctrl_c_ends_whatever_reads_a_store_and_leaves_it_as_it_was() {
    let place = Place::named("1.18.33");
    // In one message of one session, so that it takes long both to walk over and to judge.
    place.edit(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 400000)
         INSERT INTO part (id, message_id, session_id, time_created, time_updated, data)
         SELECT printf('prt_zz%024d', n), m.id, m.session_id, 1, 1, '{\"type\":\"text\",\"text\":\"words\"}'
         FROM n, (SELECT id, session_id FROM message LIMIT 1) m",
    );
    let before = place.files();
    for args in
        [&["scan", "--json"][..], &["stats"], &["repair", "--yes"], &["repair", "--dry-run", "--include", "latent"]]
    {
        let mut command = place.on_store(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = start(&mut command);
        while !holders(&place.db()).iter().any(|(pid, _)| *pid == child.id()) {
            std::thread::yield_now();
        }
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        before.assert_still(&place.files(), &format!("{args:?}"));
    }
    assert!(!place.root().join("state/opencode-unstick").exists());
}
