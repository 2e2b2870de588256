-- A thousand sessions of one, ses_0: ids end with the number of the session.
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) SELECT i FROM n;
CREATE TEMP TABLE s AS SELECT * FROM session WHERE id = 'ses_0';
CREATE TEMP TABLE m AS SELECT * FROM message WHERE session_id = 'ses_0';
CREATE TEMP TABLE p AS SELECT * FROM part WHERE session_id = 'ses_0';
INSERT INTO session SELECT 'ses_' || i, project_id, parent_id, slug, directory, 'ses_' || i, version, revert, time_created, time_updated
    FROM s, n;
INSERT INTO message SELECT substr(id, 1, 26) || printf('%04d', i + 2000), 'ses_' || i, time_created, time_updated,
    CASE WHEN data ->> 'parentID' IS NULL THEN data
    ELSE json_set(data, '$.parentID', substr(data ->> 'parentID', 1, 26) || printf('%04d', i + 2000)) END FROM m, n;
INSERT INTO part SELECT substr(id, 1, 26) || printf('%04d', i + 2000) || substr(id, 31),
    substr(message_id, 1, 26) || printf('%04d', i + 2000), 'ses_' || i, time_created, time_updated, data FROM p, n;
