"""The door to object stores: a bucket below a prefix, or a folder that all machines see.

One of them keeps the state that servers share; others hold what jobs read and write.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from batches_mcp import __version__
from batches_mcp.core.errors import ErrorReport, Retry, StateUnusable, UsageError
from batches_mcp.core.redact import excerpt
from batches_mcp.core.state import create, sync_folder

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import RetryConfig

log = logging.getLogger(__name__)

# Written when a server starts, which shows that it may write there.
_MARK = "batches-mcp.json"
_LOOK_EVERY_S = 10.0
_PIECE_BYTES = 1 << 20
_PART_BYTES = 16 << 20
_PARTS_AT_ONCE = 4
# Beside obstore's own limits, 5 s to connect and 30 s for an exchange; to name those would hide AWS_ALLOW_HTTP.
_RETRY: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}
_MOST_WORDS = 300

_Store: TypeAlias = S3Store | GCSStore | AzureStore | LocalStore


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a store is for: the argument that names it, the clouds it may be in, and what messages say of it.

    `error` is the type of the error when it cannot be used.
    """

    argument: str
    clouds: tuple[str, ...]
    expected: str
    credentials: str
    error: str


STATE = Purpose(
    "--object-store", ("s3",), "expected s3://BUCKET/PREFIX or file:///FOLDER", "AWS_* variables", "state_unusable"
)
DATA = Purpose(
    "URL",
    ("s3", "gs", "az"),
    "expected s3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/KEY, file:///PATH or a path",
    "AWS_*, GOOGLE_* or AZURE_* variables",
    "storage_unusable",
)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as the store lists it; `version` changes with its content, `written_s` is of the store's clock."""

    key: str
    size_bytes: int
    version: str
    written_s: float


class Objects:
    """Objects by their keys; `name` is how messages call the store. Credentials come from the clouds' own settings;
    `now_s` is a clock that only goes forward.

    Every method but `forget` raises StateUnusable when the store cannot be used.

    Raises:
        UsageError: that is no URL of a store.
        StateUnusable: the settings of its cloud lack something.
    """

    def __init__(self, url: str, purpose: Purpose = STATE, now_s: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        self.name, self._purpose = url, purpose
        self._now_s = now_s
        self._answered_s = -math.inf
        self._folder: Path | None = None
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError(
                f"{purpose.argument} holds more than a place; {purpose.expected}, and credentials in "
                f"{purpose.credentials}"
            )
        if parts.scheme in purpose.clouds and parts.netloc:
            self._store: _Store = self._cloud(parts.scheme, parts.netloc, parts.path.strip("/") or None)
        elif parts.scheme == "file" and parts.netloc in ("", "localhost") and len(parts.path) > 1:
            self._folder = Path(url2pathname(parts.path))
            self._store = self._local(self._folder)
        else:
            raise UsageError(f"{purpose.argument} {excerpt(url, 100)!r} cannot be used; {purpose.expected}")

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

    def fetch(self, key: str, path: Path) -> str | None:
        """Write the content of an object to a new file, which is removed if that fails; None when there is none.

        Returned is the version that was written.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            found = obstore.get(self._store, key)
            stream = found.stream(min_chunk_size=_PIECE_BYTES)
        except FileNotFoundError:
            return None
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
        return _listed(found.meta).version

    def keys(self, below: str) -> Iterator[tuple[str, float]]:
        """The keys below a folder, each with when it was written last (Unix time, by the store's clock)."""
        return ((each.key, each.written_s) for each in self.all(below))

    def all(self, below: str = "") -> Iterator[Listed]:
        """The objects below a folder, or all there are, in no certain order."""
        try:
            for chunk in obstore.list(self._store, f"{below}/" if below else None):
                yield from map(_listed, chunk)
        except (BaseError, OSError) as error:
            raise self._unusable(error) from error

    def level(self, below: str = "") -> tuple[list[Listed], list[str]]:
        """The objects in a folder, and the folders in it by their keys; nothing that is deeper."""
        try:
            found = obstore.list_with_delimiter(self._store, below or None)
        except (BaseError, OSError) as error:
            raise self._unusable(error) from error
        return [_listed(each) for each in found["objects"]], list(found["common_prefixes"])

    def find(self, key: str) -> Listed | None:
        """What there is under a key; None when there is nothing."""
        try:
            return _listed(obstore.head(self._store, key))
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._unusable(error) from error

    def forget(self, key: str) -> None:
        """Remove an object; one that cannot be removed now is left to be removed when it is old."""
        try:
            with suppress(FileNotFoundError):
                obstore.delete(self._store, key)
        except (BaseError, OSError) as error:
            log.warning("an object that is no longer needed stays: %s", self._unusable(error).report.message)

    def _cloud(self, scheme: str, bucket: str, prefix: str | None) -> _Store:
        try:
            match scheme:
                case "gs":
                    return GCSStore(bucket, prefix=prefix, retry_config=_RETRY)
                case "az":
                    return AzureStore(bucket, prefix=prefix, retry_config=_RETRY)
                case _:
                    return S3Store(bucket, prefix=prefix, retry_config=_RETRY)
        except BaseError as error:
            raise self._unusable(error) from error

    def _local(self, folder: Path) -> LocalStore:
        try:
            return LocalStore(folder, mkdir=True)
        except (BaseError, OSError, ValueError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception, found: str = "") -> StateUnusable:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        if "NoSuchBucket" in str(error):  # the code of S3's error is in the body of its answer
            found = "there is no such bucket"
        message = f"the object store {self.name} cannot be used: {found or excerpt(lines[0], _MOST_WORDS).rstrip('.')}."
        return StateUnusable(
            ErrorReport(
                self._purpose.error,
                message,
                "Wait a little, then call again; if it stays so, tell the user to look at that store and its rights.",
                Retry.HELPS,
                at_shell="Wait a little, then try again; if it stays so, look at that store and the rights to it.",
            )
        )


def _listed(found: ObjectMeta) -> Listed:
    written_s = found["last_modified"].timestamp()
    # Some stores put the tag into quotes in one answer and not in another.
    version = (found["e_tag"] or "").strip('"') or f"{found['size']}-{written_s}"
    return Listed(found["path"], found["size"], version, written_s)


def _sync(path: Path) -> None:
    """See to it that a file and its name outlive a power failure."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)
