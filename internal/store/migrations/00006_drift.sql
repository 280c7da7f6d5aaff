-- +goose Up

-- An object that differs is one item, whatever its values. Items that were written before have their fingerprint in its place until the next check.
ALTER TABLE drift ADD COLUMN object TEXT NOT NULL DEFAULT '';
UPDATE drift SET object = fingerprint;
DROP INDEX drift_one_open;
CREATE UNIQUE INDEX drift_one_open ON drift (repository, environment, stack, object) WHERE resolved IS NULL;
CREATE INDEX drift_object ON drift (repository, environment, stack, object, id);

CREATE TABLE drift_event (
    item BIGINT NOT NULL REFERENCES drift (id),
    seq  BIGINT NOT NULL,
    at   BIGINT NOT NULL,
    what TEXT   NOT NULL,
    who  TEXT   NOT NULL,
    text TEXT   NOT NULL,
    PRIMARY KEY (item, seq)
);

-- What people have set on a page; those of the configuration stand there.
CREATE TABLE drift_rule (
    id          BIGINT NOT NULL PRIMARY KEY,
    repository  TEXT   NOT NULL,
    environment TEXT   NOT NULL,
    lifted      BIGINT, -- NULL: it was not
    doc         TEXT   NOT NULL
);
CREATE INDEX drift_rule_set ON drift_rule (repository, environment) WHERE lifted IS NULL;
INSERT INTO counter (name, value) VALUES ('drift_rule', 0);

-- Counts up when there is something to tell of an environment's drift.
CREATE TABLE drift_news (
    repository  TEXT   NOT NULL,
    environment TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    reported    BIGINT NOT NULL,
    PRIMARY KEY (repository, environment)
);
