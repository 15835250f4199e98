"""The bounds of sizes, numbers and times that a server, a job or a command keeps to, as one value."""

from __future__ import annotations

from dataclasses import dataclass

# https://platform.claude.com/docs/en/build-with-claude/batch-processing#batch-limitations
MAX_BODY_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """One value for all; whoever makes the `Upstream` may give another, and finds it again in `Runtime.limits`."""

    # An exchange with the upstream. Hosts give a call 60 s; what `call_s` leaves of them is the host's own time. An
    # upload is not bound by a call: each of its pieces, and its answer, may take `upload_s`.
    call_s: float = 50.0
    upload_s: float = 600.0
    connect_s: float = 5.0
    attempts: int = 3
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0
    # At a time. Each upload holds 256 MB of disk at the most until it is answered, each download a thread.
    upstream_calls: int = 100
    uploads: int = 16
    downloads: int = 16
    # How many more may wait for their turn at each of these, and how long a call may. What outlasts its call, as
    # uploads and downloads do, waits for as long as it takes.
    waiting: int = 1_000
    waiting_s: float = 20.0
    # Bodies that are read whole, and what is handed on at a time of one that is relayed.
    answer_bytes: int = 16_000_000
    error_bytes: int = 64_000
    piece_bytes: int = 1 << 20

    # What one batch takes. Its body keeps clear of the limit, whose unit (MB or MiB) and framing the API does not state
    # exactly.
    batch_requests: int = 100_000
    part_bytes: int = MAX_BODY_BYTES * 95 // 100
    # One request may be as large as the Messages API takes: 32 MB. Files are read in pieces of `read_bytes`.
    row_bytes: int = 32_000_000
    read_bytes: int = 1 << 18

    # A client over HTTP: for the head of a request; for its body, and how fast that must come on the whole beside that;
    # for taking what is sent to it. Links that are slow, but alive, are faster.
    head_s: float = 20.0
    body_s: float = 30.0
    body_bytes_per_s: float = 1_000.0
    unread_s: float = 300.0

    # Before each look for the batch of a create that got no answer: it may take a moment to be listed. In all 30 s.
    look_pauses_s: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
    # While it is in doubt whether a batch was made, asking again sooner tells nothing new.
    ask_again_s: float = 20.0

    # What became of a create and could not be written down is tried again this often.
    record_again_s: float = 5.0

    # A batch of so many rows is copied whole at the first look at its results.
    copied_rows: int = 2_000
    # The longest answer has some hundred thousand tokens, which are a few megabytes; on top comes what tools found.
    line_bytes: int = 64_000_000
    # What arrives is written to the disk at every so many bytes.
    sync_bytes: int = 16 << 20

    # SQLite waits so long for another process's transaction; ours take milliseconds.
    busy_s: float = 10.0

    # Between two looks of a service for creates that were approved. Who approves one over HTTP waits so long for its
    # batch.
    approvals_look_s: float = 5.0
    approval_answer_s: float = 10.0
    # Of a team; the requests of each are kept meanwhile.
    open_approvals: int = 100

    # Progress is reported so often. The last question of a wait, asked when its time is over, may take `last_answer_s`:
    # with the longest wait of 45 s a call stays within the 50 s that it may take.
    progress_s: float = 0.5
    last_answer_s: float = 5.0
    # Between two questions of a job, at the most.
    job_pause_s: float = 60.0
    # Between two looks of `jobs --watch`; the API's own hint for a batch in progress is as long.
    watch_s: float = 10.0

    # Workers look for tasks whose time has come, and for those that others left behind, so often. A worker that has not
    # shown for so long that it lives has lost its tasks.
    task_poll_s: float = 1.0
    task_sweep_s: float = 10.0
    worker_lost_s: float = 30.0


LIMITS = Limits()
