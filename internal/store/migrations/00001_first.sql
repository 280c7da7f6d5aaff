-- One text for SQLite and PostgreSQL. Times are microseconds since 1970 in UTC; documents are the JSON of a domain value; a
-- column exists beside its document only because something is looked up by it.

-- +goose Up

-- Identifiers are counted here, so that they follow the order of commits and need no dialect.
CREATE TABLE counter (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('run', 0), ('deployment', 0), ('drift', 0), ('request', 0);

-- What was last seen of a branch, a merge request, a schedule: the other side of Observe's compare-and-set.
CREATE TABLE seen (
    repository TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    mark       TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (repository, subject)
);

CREATE TABLE head (
    repository TEXT   NOT NULL,
    branch     TEXT   NOT NULL,
    commit_id  TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    findings   TEXT   NOT NULL,
    PRIMARY KEY (repository, branch)
);

CREATE TABLE merge_request (
    repository TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('open', 'merged', 'closed')),
    updated    BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    reported   BIGINT NOT NULL,
    doc        TEXT   NOT NULL,
    PRIMARY KEY (repository, id)
);
CREATE INDEX merge_request_unreported ON merge_request (repository) WHERE version > reported;

CREATE TABLE deployment (
    id          BIGINT NOT NULL PRIMARY KEY,
    repository  TEXT   NOT NULL,
    environment TEXT   NOT NULL,
    doc         TEXT   NOT NULL
);
CREATE INDEX deployment_history ON deployment (repository, environment, id);

CREATE TABLE stack (
    repository  TEXT NOT NULL,
    environment TEXT NOT NULL,
    name        TEXT NOT NULL,
    doc         TEXT NOT NULL,
    PRIMARY KEY (repository, environment, name)
);

CREATE TABLE run (
    id          BIGINT NOT NULL PRIMARY KEY,
    repository  TEXT   NOT NULL,
    environment TEXT   NOT NULL,
    stack       TEXT   NOT NULL,
    kind        TEXT   NOT NULL CHECK (kind IN ('proposal', 'deploy', 'drift', 'destroy')),
    state       TEXT   NOT NULL CHECK (state IN ('queued', 'planning', 'clean', 'planned', 'drifted', 'awaiting', 'approved',
                    'applying', 'applied', 'failed', 'interrupted', 'superseded', 'canceled', 'rejected', 'expired')),
    subject     TEXT   NOT NULL,
    mr          TEXT   NOT NULL,
    deployment  BIGINT NOT NULL, -- 0: none
    head        TEXT   NOT NULL, -- the deployment's commit; '': none
    env_order   BIGINT NOT NULL,
    priority    BIGINT NOT NULL,
    due         BIGINT,          -- when Expire has something to do: the end of the lease, the plan or the approvals
    version     BIGINT NOT NULL,
    reported    BIGINT NOT NULL,
    doc         TEXT   NOT NULL,
    CHECK (state NOT IN ('planning', 'applying') OR due IS NOT NULL)
);
-- The invariant: a stack is planned or applied by one run at a time, whatever the queries above it forget.
CREATE UNIQUE INDEX run_one_active ON run (repository, environment, stack) WHERE state IN ('planning', 'applying');
CREATE INDEX run_queue ON run (priority, id) WHERE state IN ('queued', 'approved');
CREATE INDEX run_due ON run (due) WHERE due IS NOT NULL;
CREATE INDEX run_live ON run (repository, subject) WHERE state IN ('queued', 'planning', 'awaiting', 'approved', 'applying');
CREATE INDEX run_unreported ON run (repository, id) WHERE version > reported;
CREATE INDEX run_stack ON run (repository, environment, stack, id);
CREATE INDEX run_deployment ON run (deployment, stack);
CREATE INDEX run_head ON run (repository, head, env_order) WHERE state IN ('queued', 'planning', 'awaiting', 'approved', 'applying');
CREATE INDEX run_mr ON run (repository, mr, id);

-- The stacks of the same deployment that a run lets go first.
CREATE TABLE run_wait (
    run   BIGINT NOT NULL REFERENCES run (id),
    stack TEXT   NOT NULL,
    PRIMARY KEY (run, stack)
);

CREATE TABLE run_event (
    run        BIGINT NOT NULL REFERENCES run (id),
    version    BIGINT NOT NULL, -- of the run that the change made
    at         BIGINT NOT NULL,
    from_state TEXT   NOT NULL,
    to_state   TEXT   NOT NULL,
    who        TEXT   NOT NULL,
    text       TEXT   NOT NULL,
    PRIMARY KEY (run, version)
);

CREATE TABLE drift (
    id          BIGINT NOT NULL PRIMARY KEY,
    repository  TEXT   NOT NULL,
    environment TEXT   NOT NULL,
    stack       TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    resolved    BIGINT, -- NULL: open
    doc         TEXT   NOT NULL
);
CREATE UNIQUE INDEX drift_one_open ON drift (repository, environment, stack, fingerprint) WHERE resolved IS NULL;
CREATE INDEX drift_resolved ON drift (repository, resolved);

CREATE TABLE request (
    id         BIGINT NOT NULL PRIMARY KEY,
    repository TEXT   NOT NULL,
    doc        TEXT   NOT NULL
);
CREATE INDEX request_repository ON request (repository, id);

CREATE TABLE log_chunk (
    run     BIGINT NOT NULL REFERENCES run (id),
    attempt BIGINT NOT NULL,
    phase   TEXT   NOT NULL CHECK (phase IN ('plan', 'apply')),
    seq     BIGINT NOT NULL,
    doc     TEXT   NOT NULL,
    PRIMARY KEY (run, attempt, phase, seq)
);

CREATE TABLE told (
    repository TEXT NOT NULL,
    key        TEXT NOT NULL,
    hash       TEXT NOT NULL,
    PRIMARY KEY (repository, key)
);

CREATE TABLE lease (
    name   TEXT   NOT NULL PRIMARY KEY,
    holder TEXT   NOT NULL,
    until  BIGINT NOT NULL
);
