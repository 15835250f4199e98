"""The tables of a shared database, in numbered steps, each of which the version before can still read.

`creates` is a view: whoever works on it sees, and writes, the rows of the account that the transaction is for.
"""

from __future__ import annotations

from batches_mcp.core.errors import ErrorReport, StateUnusable
from batches_mcp.store.postgres import Postgres, Transaction
from batches_mcp.store.team_tables import SHARED, SHARED_JOBS

_COLUMNS = (
    "key, content, body, rows, body_bytes, source, label, part, parts, source_hash, parent, betas, estimate_usd, "
    "state, owner, started_s, since_s, newest_id, sent_s, batch_id, batch, cost_usd, told, deleted"
)
# Columns of a view can only be added at its end.
_WITH_TEAMS = f"{_COLUMNS}, principal, client, team"
_ACCOUNT = "current_setting('batches_mcp.account')"
STEPS: tuple[str, ...] = (
    f"""
CREATE TABLE account_creates (
  account TEXT NOT NULL DEFAULT {_ACCOUNT} CHECK (account <> ''),
  key BIGINT NOT NULL, content TEXT NOT NULL, body TEXT NOT NULL, rows BIGINT NOT NULL,
  body_bytes BIGINT NOT NULL, source TEXT, label TEXT, part INTEGER, parts INTEGER, source_hash TEXT, parent TEXT,
  betas TEXT NOT NULL, estimate_usd DOUBLE PRECISION, state TEXT NOT NULL, owner TEXT,
  started_s DOUBLE PRECISION NOT NULL, since_s DOUBLE PRECISION NOT NULL, newest_id TEXT, sent_s DOUBLE PRECISION,
  batch_id TEXT, batch TEXT, cost_usd DOUBLE PRECISION,
  told BOOLEAN NOT NULL DEFAULT FALSE, deleted BOOLEAN NOT NULL DEFAULT FALSE,
  PRIMARY KEY (account, key)
);
CREATE INDEX account_creates_content ON account_creates (account, content);
CREATE INDEX account_creates_body ON account_creates (account, body);
CREATE INDEX account_creates_batch_id ON account_creates (account, batch_id);
CREATE VIEW creates AS SELECT {_COLUMNS} FROM account_creates WHERE account = {_ACCOUNT};
CREATE TABLE account_names (name TEXT PRIMARY KEY, account TEXT NOT NULL);
CREATE TABLE owners (name TEXT PRIMARY KEY, until TIMESTAMPTZ NOT NULL, host TEXT NOT NULL, process BIGINT NOT NULL)
""",  # noqa: S608 - our own text
    f"""
ALTER TABLE account_creates ADD COLUMN principal TEXT;
ALTER TABLE account_creates ADD COLUMN client TEXT;
ALTER TABLE account_creates ADD COLUMN team TEXT;
CREATE OR REPLACE VIEW creates AS SELECT {_WITH_TEAMS} FROM account_creates WHERE account = {_ACCOUNT}
""",  # noqa: S608 - our own text
    """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, queue TEXT NOT NULL, state TEXT NOT NULL, settings TEXT NOT NULL,
  created_s DOUBLE PRECISION NOT NULL, error TEXT, finished_s DOUBLE PRECISION
);
CREATE TABLE job_shards (
  job TEXT NOT NULL REFERENCES jobs, number INTEGER NOT NULL, url TEXT NOT NULL, size_bytes BIGINT NOT NULL,
  version TEXT NOT NULL, plan TEXT, PRIMARY KEY (job, number)
);
CREATE TABLE job_parts (
  job TEXT NOT NULL REFERENCES jobs, number INTEGER NOT NULL, shard INTEGER NOT NULL, rows BIGINT NOT NULL,
  estimate_usd DOUBLE PRECISION, plan TEXT NOT NULL, state TEXT NOT NULL, body TEXT, body_bytes BIGINT NOT NULL,
  batches TEXT NOT NULL, settled BOOLEAN NOT NULL, succeeded BIGINT NOT NULL, failed BIGINT NOT NULL,
  cost_usd DOUBLE PRECISION, output TEXT, failures INTEGER NOT NULL, note TEXT, PRIMARY KEY (job, number)
);
CREATE INDEX job_parts_state ON job_parts (job, state)
""",
    SHARED,
    f"""
ALTER TABLE account_creates ADD COLUMN job_id TEXT;
CREATE INDEX account_creates_job ON account_creates (account, job_id);
CREATE INDEX account_creates_parent ON account_creates (account, parent);
CREATE OR REPLACE VIEW creates AS SELECT {_WITH_TEAMS}, job_id FROM account_creates WHERE account = {_ACCOUNT};
{SHARED_JOBS}
""",  # noqa: S608 - our own text
)
LATEST = len(STEPS)


def migrate(database: Postgres) -> tuple[int, int]:
    """Bring the tables to this version; the version before and after, 0 where there were none.

    Raises:
        StateUnusable: the database cannot be used, or a later version of this program made the tables.
    """
    with database.transaction("migrate") as db:
        db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        before = _version(db)
        if before > LATEST:
            raise _newer(database.name, before)
        for step in STEPS[before:]:
            for statement in step.split(";"):
                db.execute(statement)
        if before < LATEST:
            db.execute("DELETE FROM schema_version")
            db.execute("INSERT INTO schema_version VALUES (?)", (LATEST,))
    return before, LATEST


def check(database: Postgres) -> None:
    """See whether the tables are those of this version, and can be written to.

    Raises:
        StateUnusable: they are not, with what to do about it; or the database cannot be used.
    """
    with database.transaction() as db:
        [(found,)] = db.execute("SELECT to_regclass('schema_version')")
        version = _version(db) if found else 0
        if version > LATEST:
            raise _newer(database.name, version)
        if version < LATEST:
            were = f"are of version {version}" if version else "are not there yet"
            raise _of_another_version(
                f"the tables of batches-mcp in {database.name} {were}; this version of it needs version {LATEST}",
                "run `batches-mcp migrate` with the same --database-url",
            )
        db.execute("UPDATE schema_version SET version = version")


def _version(db: Transaction) -> int:
    [(version,)] = db.execute("SELECT coalesce(max(version), 0) FROM schema_version")
    return int(version)


def _newer(name: str, version: int) -> StateUnusable:
    return _of_another_version(
        f"the tables of batches-mcp in {name} are of version {version}, which a later version of batches-mcp made; "
        f"this one knows them up to version {LATEST}",
        "use that version of batches-mcp, or another database",
    )


def _of_another_version(message: str, advice: str) -> StateUnusable:
    at_shell = f"{advice[0].upper()}{advice[1:]}."
    return StateUnusable(ErrorReport("state_unusable", f"{message}.", f"Tell the user to {advice}.", at_shell=at_shell))
