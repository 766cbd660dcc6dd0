-- The whole schema, version 2 (PRAGMA user_version).
--
-- Events are the truth that people see, tokens the truth that the model sees. Both are only ever
-- appended; an event and the tokens it tells of are written in one transaction.

CREATE TABLE conversation (
  id          TEXT    PRIMARY KEY,           -- ULID
  title       TEXT    NOT NULL DEFAULT '',
  workspace   TEXT    NOT NULL,              -- absolute path
  model       TEXT    NOT NULL,              -- name for people
  fingerprint TEXT    NOT NULL,              -- weights, rounding and kernels
  vocabulary  TEXT    NOT NULL,              -- what the token ids mean
  status      TEXT    NOT NULL DEFAULT '',   -- of the last turn that ended
  created_ms  INTEGER NOT NULL,
  updated_ms  INTEGER NOT NULL,
  events      INTEGER NOT NULL DEFAULT 0,    -- number of events, so the next one's n
  turns       INTEGER NOT NULL DEFAULT 0,
  steps       INTEGER NOT NULL DEFAULT 0,
  cause       TEXT    NOT NULL DEFAULT ''    -- id of the command that made it
) STRICT;

CREATE INDEX conversation_by_workspace ON conversation (workspace, updated_ms);
CREATE UNIQUE INDEX conversation_by_cause ON conversation (cause) WHERE cause <> '';

CREATE TABLE event (
  conversation TEXT    NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  n            INTEGER NOT NULL,             -- contiguous from 0
  t            INTEGER NOT NULL,             -- milliseconds since the start of its run
  type         TEXT    NOT NULL,
  json         TEXT    NOT NULL,             -- the whole line
  PRIMARY KEY (conversation, n)
) STRICT;

-- The timeline of tokens, in pieces, in the order of `piece`.
CREATE TABLE tokens (
  piece        INTEGER PRIMARY KEY,
  conversation TEXT    NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  turn         INTEGER NOT NULL,
  step         INTEGER NOT NULL,             -- 0: the system text
  sampled      INTEGER NOT NULL,             -- 1: chosen by the model, 0: rendered
  calls        INTEGER NOT NULL,             -- that a sampled piece makes; each needs an outcome
  ids          BLOB    NOT NULL              -- little-endian 32-bit integers
) STRICT;

CREATE INDEX tokens_by_conversation ON tokens (conversation, piece);

CREATE TABLE outcome (
  conversation TEXT    NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
  turn         INTEGER NOT NULL,
  step         INTEGER NOT NULL,
  call         INTEGER NOT NULL,
  text         TEXT    NOT NULL,             -- as the model sees it
  whole        TEXT    NOT NULL,             -- everything, where text leaves something out
  PRIMARY KEY (conversation, turn, step, call)
) STRICT;
