"""How long a job takes, from its beginning to its end, however often it is stopped and resumed."""

from __future__ import annotations

import msgspec

from batches_mcp.job.intake import JobFolder
from batches_mcp.job.made import Start

_TIME = "time.json"


class JobTime(msgspec.Struct, frozen=True):
    """When a job began, a Unix time of the upstream's, and how long it took, once it was finished.

    `start` is the name of the fresh job it is of.
    """

    start: str
    began_s: float
    took_s: float | None = None

    def so_far_s(self, now_s: float) -> float:
        return max(0.0, now_s - self.began_s)


def begin(folder: JobFolder, start: Start, now_s: float) -> JobTime:
    """The time of the job that is kept in `folder`: that of the run that began it, or this one's.

    Raises:
        StateUnusable: it cannot be noted.
    """
    noted = folder.read(_TIME, JobTime)
    if noted is not None and start.name in ("", noted.start):
        return noted
    time = JobTime(start.name, now_s)
    folder.write(_TIME, time)
    return time


def finish(folder: JobFolder, time: JobTime, took_s: float) -> None:
    """Note how long the job took.

    Raises:
        StateUnusable: it cannot be noted.
    """
    folder.write(_TIME, msgspec.structs.replace(time, took_s=took_s))
