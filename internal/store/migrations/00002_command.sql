-- +goose Up

-- What people asked for in comments. A comment gives one command, however often it is seen.
CREATE TABLE command (
    id         BIGINT NOT NULL PRIMARY KEY,
    repository TEXT   NOT NULL,
    comment    TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('pending', 'carried', 'answered')),
    doc        TEXT   NOT NULL,
    UNIQUE (repository, comment)
);
CREATE INDEX command_open ON command (repository, id) WHERE state <> 'answered';
INSERT INTO counter (name, value) VALUES ('command', 0);

-- When people were told of the version in "reported"; 0: never.
ALTER TABLE run ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
