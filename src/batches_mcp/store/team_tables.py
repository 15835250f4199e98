"""The tables that only a service has whose callers are told apart: what was decided, and what waits for an approval.

Their columns are the same in a file and in a shared database; `clock` is the time (Unix) of whichever it is.
"""

from __future__ import annotations

AUDIT_COLUMNS = (
    "event TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT, principal TEXT, client TEXT, team TEXT, tool TEXT, "
    "door TEXT, request_id TEXT, batch_id TEXT, content TEXT, rows BIGINT, estimate_usd DOUBLE PRECISION, "
    "cap_usd DOUBLE PRECISION, approver TEXT, approval_id TEXT, entry BIGINT"
)
APPROVAL_COLUMNS = (
    "id TEXT NOT NULL, state TEXT NOT NULL, asked_s DOUBLE PRECISION NOT NULL, expires_s DOUBLE PRECISION NOT NULL, "
    "content TEXT NOT NULL, body TEXT NOT NULL, rows BIGINT NOT NULL, body_bytes BIGINT NOT NULL, source TEXT, "
    "label TEXT, part INTEGER, parts INTEGER, source_hash TEXT, parent TEXT, betas TEXT NOT NULL, "
    "estimate_usd DOUBLE PRECISION, principal TEXT, client TEXT, team TEXT, tool TEXT NOT NULL, door TEXT, "
    "request_id TEXT, over_usd DOUBLE PRECISION NOT NULL, again BOOLEAN NOT NULL, kept BOOLEAN NOT NULL, "
    "told BOOLEAN NOT NULL, approver TEXT, answered_s DOUBLE PRECISION, entry BIGINT"
)


def names(columns: str) -> str:
    """The names of columns, without their types."""
    return ", ".join(each.split()[0] for each in columns.split(", "))


_NOW = "((julianday('now') - 2440587.5) * 86400.0)"
# For a file. Statements are told apart by semicolons.
IN_A_FILE = f"""
CREATE TABLE audit (
  key INTEGER PRIMARY KEY AUTOINCREMENT, time_s DOUBLE PRECISION NOT NULL DEFAULT {_NOW}, {AUDIT_COLUMNS}
);
CREATE INDEX audit_time ON audit (time_s);
CREATE INDEX audit_entry ON audit (entry);
CREATE TABLE approvals ({APPROVAL_COLUMNS}, PRIMARY KEY (id));
CREATE INDEX approvals_content ON approvals (content);
CREATE VIEW clock AS SELECT {_NOW} AS now_s
"""
JOBS_IN_A_FILE = """
CREATE INDEX creates_parent ON creates (parent);
ALTER TABLE creates ADD COLUMN job_id TEXT;
ALTER TABLE approvals ADD COLUMN job_id TEXT;
ALTER TABLE approvals ADD COLUMN models TEXT
"""

_ACCOUNT = "current_setting('batches_mcp.account')"
# For a shared database, whose views have the rows of the account that a transaction is for. Decisions that are not a
# claim's belong to none.
SHARED = f"""
CREATE TABLE account_audit (
  account TEXT NOT NULL DEFAULT {_ACCOUNT}, key BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  time_s DOUBLE PRECISION NOT NULL DEFAULT extract(epoch FROM clock_timestamp()), {AUDIT_COLUMNS}
);
CREATE INDEX account_audit_time ON account_audit (account, time_s);
CREATE INDEX account_audit_entry ON account_audit (account, entry);
CREATE VIEW audit AS SELECT key, time_s, {names(AUDIT_COLUMNS)} FROM account_audit WHERE account = {_ACCOUNT};
CREATE TABLE account_approvals (
  account TEXT NOT NULL DEFAULT {_ACCOUNT} CHECK (account <> ''), {APPROVAL_COLUMNS}, PRIMARY KEY (id)
);
CREATE INDEX account_approvals_content ON account_approvals (account, content);
CREATE VIEW approvals AS SELECT {names(APPROVAL_COLUMNS)} FROM account_approvals WHERE account = {_ACCOUNT};
CREATE VIEW clock AS SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) AS now_s
"""  # noqa: S608 - our own text

# A table that approvals of jobs are in as well; `creates` is a view of its own.
SHARED_JOBS = f"""
ALTER TABLE account_approvals ADD COLUMN job_id TEXT;
ALTER TABLE account_approvals ADD COLUMN models TEXT;
CREATE OR REPLACE VIEW approvals AS
  SELECT {names(APPROVAL_COLUMNS)}, job_id, models FROM account_approvals WHERE account = {_ACCOUNT}
"""  # noqa: S608 - our own text
