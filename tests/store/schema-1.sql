BEGIN TRANSACTION;
CREATE TABLE mailbox_client (
        key INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        name TEXT NOT NULL COLLATE BINARY UNIQUE,
        public_key BLOB NOT NULL,
        last_seen REAL
    );
CREATE TABLE mailbox_message (
        sequence INTEGER PRIMARY KEY,
        recipient INTEGER NOT NULL,
        sender BLOB NOT NULL,
        type INTEGER NOT NULL,
        stored_at REAL NOT NULL,
        content BLOB NOT NULL,
        in_pieces INTEGER NOT NULL DEFAULT 0
    );
CREATE TABLE mailbox_meta (
        name TEXT NOT NULL PRIMARY KEY,
        value INTEGER NOT NULL
    );
INSERT INTO "mailbox_meta" VALUES('schema_version',1);
INSERT INTO "mailbox_meta" VALUES('compat_version',1);
INSERT INTO "mailbox_meta" VALUES('last_sequence',0);
INSERT INTO "mailbox_meta" VALUES('last_indexed',0);
CREATE TABLE mailbox_piece (
        message INTEGER NOT NULL,
        start INTEGER NOT NULL,
        content BLOB NOT NULL,
        UNIQUE (message, start)
    );
CREATE TABLE mailbox_rubbish (
        message INTEGER PRIMARY KEY
    );
CREATE TABLE mailbox_usage (
        recipient INTEGER PRIMARY KEY,
        messages INTEGER NOT NULL,
        content INTEGER NOT NULL
    );
CREATE TABLE mailbox_waiting (
        recipient INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        size INTEGER NOT NULL,
        PRIMARY KEY (recipient, sequence)
    ) WITHOUT ROWID
    ;
CREATE TABLE quarantined_client (
        ID, UserName, PublicKey, LastSeen, reason TEXT NOT NULL
    );
CREATE TABLE quarantined_message (
        ID, ToClient, FromClient, Type, Content, reason TEXT NOT NULL
    );
CREATE INDEX mailbox_message_stored_at ON mailbox_message (stored_at);
CREATE VIEW clients (ID, UserName, PublicKey, LastSeen) AS
    SELECT id, name, public_key, strftime('%Y-%m-%d %H:%M:%S', last_seen, 'unixepoch')
    FROM mailbox_client;
CREATE VIEW messages (ID, ToClient, FromClient, Type, Content) AS
    WITH octets (every) AS (SELECT x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff')
    SELECT CAST(substr(octets.every, (sequence >> 0 & 255) + 1, 1) || substr(octets.every, (sequence >> 8 & 255) + 1, 1) || substr(octets.every, (sequence >> 16 & 255) + 1, 1) || substr(octets.every, (sequence >> 24 & 255) + 1, 1) AS BLOB), mailbox_client.id, sender, type, 
    CASE in_pieces WHEN 0 THEN content ELSE (
        WITH RECURSIVE joined (size, content) AS (
            VALUES (0, x'')
            UNION ALL
            SELECT joined.size + length(piece.content), joined.content || piece.content
            FROM joined JOIN mailbox_piece AS piece
            ON piece.message = sequence AND piece.start = joined.size
        )
        SELECT CAST(joined.content AS BLOB) FROM joined WHERE joined.size = in_pieces
    ) END

    FROM octets CROSS JOIN mailbox_message JOIN mailbox_client ON key = recipient;
COMMIT;
