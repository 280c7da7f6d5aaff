-- +goose Up

-- What sinks outside the forge are to be told. A sink is told the same thing once, however often it is noticed. Where a sink is, and
-- what proves to it who sends, is in the configuration and never here.
CREATE TABLE notice (
    id       BIGINT NOT NULL PRIMARY KEY,
    sink     TEXT   NOT NULL,
    key      TEXT   NOT NULL,
    state    TEXT   NOT NULL CHECK (state IN ('waiting', 'sent', 'given up')),
    at       BIGINT NOT NULL, -- when it was written
    claim    BIGINT NOT NULL, -- who sends it; 0: nobody
    until    BIGINT NOT NULL, -- when the claim ends, if nothing is heard of who has it
    attempts BIGINT NOT NULL, -- that have failed
    alone    BIGINT NOT NULL, -- 1: it was refused together with others, one of which is to blame
    reason   TEXT   NOT NULL, -- of the last failure
    ended    BIGINT,          -- when it was sent or given up
    doc      TEXT   NOT NULL,
    UNIQUE (sink, key),
    CHECK ((state = 'waiting') = (ended IS NULL))
);
CREATE INDEX notice_waiting ON notice (sink, id) WHERE state = 'waiting';
CREATE INDEX notice_claim ON notice (claim) WHERE claim <> 0;
CREATE INDEX notice_ended ON notice (ended) WHERE ended IS NOT NULL;

-- How each sink is. Its row is the lock behind which those who send to it wait for each other.
CREATE TABLE sink (
    name     TEXT   NOT NULL PRIMARY KEY,
    pace     BIGINT NOT NULL, -- the mark of its limit
    failures BIGINT NOT NULL, -- on end
    paused   BIGINT NOT NULL, -- until when it is left alone
    reason   TEXT   NOT NULL  -- of the last failure; '': the last message arrived
);

INSERT INTO counter (name, value) VALUES ('notice', 0), ('claim', 0);
