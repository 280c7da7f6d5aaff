-- +goose Up

-- Who decided what. Each entry's hash covers the hash of the one before it and the entry's document; the mac proves that whoever
-- wrote it had the key. The other columns are looked up by, and are in the document too. Migration 4, in Go since the
-- databases differ there, has both refuse to change what is written.
CREATE TABLE audit (
    seq         BIGINT NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    who         TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    repository  TEXT   NOT NULL,
    environment TEXT   NOT NULL,
    stack       TEXT   NOT NULL,
    run         BIGINT NOT NULL, -- 0: none
    doc         TEXT   NOT NULL,
    prev        TEXT   NOT NULL,
    hash        TEXT   NOT NULL,
    mac         TEXT   NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_who ON audit (who, seq);
CREATE INDEX audit_place ON audit (repository, environment, stack, seq);
CREATE INDEX audit_run ON audit (run, seq) WHERE run <> 0;

-- The last entry. Its row is the lock behind which those who append wait for each other, and tells when entries after another were taken away.
CREATE TABLE audit_head (
    id   BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT NOT NULL, -- 0: nothing was written yet
    hash TEXT   NOT NULL,
    mac  TEXT   NOT NULL
);
INSERT INTO audit_head (id, seq, hash, mac) VALUES (1, 0, '', '');

-- What people have frozen. FREEZE alone is a word of PostgreSQL.
CREATE TABLE env_freeze (
    id          BIGINT NOT NULL PRIMARY KEY,
    repository  TEXT   NOT NULL,
    environment TEXT   NOT NULL,
    begins      BIGINT NOT NULL,
    ends        BIGINT NOT NULL, -- the greatest number: not before it is lifted
    lifted      BIGINT,          -- NULL: it was not
    doc         TEXT   NOT NULL
);
CREATE INDEX env_freeze_set ON env_freeze (repository, environment) WHERE lifted IS NULL;

CREATE TABLE token (
    id        BIGINT NOT NULL PRIMARY KEY,
    person    TEXT   NOT NULL,
    hash      TEXT   NOT NULL UNIQUE,
    last_used BIGINT, -- NULL: never
    doc       TEXT   NOT NULL
);
CREATE INDEX token_person ON token (person, id);

INSERT INTO counter (name, value) VALUES ('freeze', 0), ('token', 0);

-- Of an approved run: when its calendar lets it be applied at the earliest; 0: now; the greatest number: nobody knows.
ALTER TABLE run ADD COLUMN opens BIGINT NOT NULL DEFAULT 0;
-- 1: somebody has broken the glass for the plan at hand, and no freeze keeps it back.
ALTER TABLE run ADD COLUMN glass BIGINT NOT NULL DEFAULT 0;
