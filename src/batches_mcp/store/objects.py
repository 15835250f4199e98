"""The door to an object store: an S3 bucket below a prefix, or a folder that all machines see."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from batches_mcp import __version__
from batches_mcp.core.errors import ErrorReport, Retry, StateUnusable, UsageError
from batches_mcp.core.redact import excerpt
from batches_mcp.core.state import create, sync_folder

if TYPE_CHECKING:
    from obstore.store import RetryConfig

log = logging.getLogger(__name__)

_EXPECTED = "expected s3://BUCKET/PREFIX or file:///FOLDER"
# Written when a server starts, which shows that it may write there.
_MARK = "batches-mcp.json"
_LOOK_EVERY_S = 10.0
_PIECE_BYTES = 1 << 20
_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
# Beside obstore's own limits, 5 s to connect and 30 s for an exchange; to name those would hide AWS_ALLOW_HTTP.
_RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
_MOST_WORDS = 300


class Objects:
    """Objects by their keys; `name` is how messages call the store. S3 takes its credentials from AWS's own settings;
    `now_s` is a clock that only goes forward.

    Every method but `forget` raises StateUnusable when the store cannot be used.

    Raises:
        UsageError: that is no URL of a store.
    """

    def __init__(self, url: str, now_s: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        self.name = url
        self._now_s = now_s
        self._answered_s = -math.inf
        self._folder: Path | None = None
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError(f"--object-store holds more than a place; {_EXPECTED}, and credentials in AWS_* variables")
        if parts.scheme == "s3" and parts.hostname:
            prefix = parts.path.strip("/") or None
            self._store: S3Store | LocalStore = S3Store(parts.hostname, prefix=prefix, retry_config=_RETRY)
        elif parts.scheme == "file" and parts.netloc in ("", "localhost") and len(parts.path) > 1:
            self._folder = Path(url2pathname(parts.path))
            self._store = self._local(self._folder)
        else:
            raise UsageError(f"--object-store {excerpt(url, 100)!r} cannot be used; {_EXPECTED}")

    def check(self) -> None:
        """See whether the store is there and can be written to."""
        self.put(_MARK, f'{{"version": "{__version__}"}}\n'.encode())

    def look(self) -> None:
        """See whether the store answers; one that just did so is not asked again, for it may bill each question."""
        if self._now_s() - self._answered_s > _LOOK_EVERY_S:
            if self.read(_MARK) is None:
                raise self._unusable(FileNotFoundError(_MARK), f"{_MARK} is no longer there")
            self._answered_s = self._now_s()

    def put(self, key: str, content: bytes | Path, *, new: bool = False) -> bool:
        """Write an object, which is there wholly or not at all; false when a `new` one is there already."""
        try:
            if new:
                obstore.put(self._store, key, content, mode="create", use_multipart=False)
            else:
                obstore.put(self._store, key, content, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
            if self._folder is not None:
                _sync(self._folder / key)
        except AlreadyExistsError:
            return False
        except FileNotFoundError as error:
            raise self._unusable(error, "there is no such bucket") from error
        except (BaseError, OSError) as error:
            raise self._unusable(error) from error
        return True

    def read(self, key: str) -> bytes | None:
        """The content of an object; None when there is none."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._unusable(error) from error

    def fetch(self, key: str, path: Path) -> bool:
        """Write the content of an object to a new file, which is removed if that fails; false when there is none.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            stream = obstore.get(self._store, key).stream(min_chunk_size=_PIECE_BYTES)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise self._unusable(error) from error
        try:
            with create(path) as file:
                for piece in stream:
                    file.write(piece)
        except BaseError as error:
            path.unlink(missing_ok=True)
            raise self._unusable(error) from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return True

    def keys(self, below: str) -> Iterator[tuple[str, float]]:
        """The keys below a folder, each with when it was written last (Unix time, by the store's clock)."""
        try:
            for chunk in obstore.list(self._store, f"{below}/"):
                for each in chunk:
                    yield each["path"], each["last_modified"].timestamp()
        except (BaseError, OSError) as error:
            raise self._unusable(error) from error

    def forget(self, key: str) -> None:
        """Remove an object; one that cannot be removed now is left to be removed when it is old."""
        try:
            with suppress(FileNotFoundError):
                obstore.delete(self._store, key)
        except (BaseError, OSError) as error:
            log.warning("an object that is no longer needed stays: %s", self._unusable(error).report.message)

    def _local(self, folder: Path) -> LocalStore:
        try:
            return LocalStore(folder, mkdir=True)
        except (BaseError, OSError, ValueError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception, found: str = "") -> StateUnusable:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        message = f"the object store {self.name} cannot be used: {found or excerpt(lines[0], _MOST_WORDS).rstrip('.')}."
        return StateUnusable(
            ErrorReport(
                "state_unusable",
                message,
                "Wait a little, then call again; if it stays so, tell the user to look at that store and its rights.",
                Retry.HELPS,
                at_shell="Wait a little, then try again; if it stays so, look at that store and the rights to it.",
            )
        )


def _sync(path: Path) -> None:
    """See to it that a file and its name outlive a power failure."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)
