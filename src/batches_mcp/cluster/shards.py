"""The shards of a job's input, and where its output goes: objects in a cloud, or files that all workers see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from urllib.request import url2pathname

import msgspec

from batches_mcp.core.errors import ErrorReport, InvalidArguments, UsageError
from batches_mcp.core.redact import excerpt
from batches_mcp.store.objects import DATA, Listed, Objects

# What is read in a folder that is named as a whole.
ENDINGS = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv")
_WILDCARDS = "*?["
_ANY_DEPTH = "**"
# What Spark and others mark as not being data; `_SUCCESS` is such a name.
_HIDDEN = ("_", ".")
_MOST_NAMED = 5
_MOST_LISTED = 1_000


class Shard(msgspec.Struct, frozen=True):
    """One object of an input. `url` is a path for a file; `version` changes with the content."""

    number: int
    url: str
    size_bytes: int
    version: str

    @property
    def local(self) -> Path | None:
        """The file, if it is one."""
        return _path(self.url)


def find(url: str) -> list[Shard]:
    """The objects that a URL names, in the order of their keys, numbered from 0.

    `*`, `?` and `[...]` stand for what they do in a shell, `**` for folders of any depth. A folder, or a URL that ends
    in `/`, stands for all data below it. Names that begin with `_` or `.` are skipped unless the URL has that mark.

    Raises:
        UsageError: the URL cannot be used, or no object matches.
        StateUnusable: the store cannot be used.
    """
    local = _path(url)
    found = sorted(_in_cloud(url) if local is None else _in_files(local, url.endswith("/")))
    if not found:
        raise UsageError(f"no object matches {excerpt(url, 300)}; {_near(url, local)}")
    return [Shard(number, *each) for number, each in enumerate(found)]


def fetch(shard: Shard, path: Path) -> Path:
    """Write a shard to the new file `path`. A shard that is a file stays where it is, and is returned.

    Raises:
        InvalidArguments: it is gone, or no longer what it was when it was found.
        StateUnusable: the store cannot be used.
        OSError: the file cannot be written.
    """
    local = shard.local
    if local is not None:
        check_unchanged(shard)
        return local
    folder, _, name = shard.url.rpartition("/")
    version = Objects(folder, DATA).fetch(name, path)
    if version != shard.version:
        path.unlink(missing_ok=True)
        raise _changed(shard, gone=version is None)
    return path


def check_unchanged(shard: Shard) -> None:
    """See that a shard that is a file is what it was when it was found.

    Raises:
        InvalidArguments: it is not.
    """
    local = shard.local
    if local is not None:
        try:
            same = _file(local)[2] == shard.version
        except OSError as error:
            raise _changed(shard, gone=True) from error
        if not same:
            raise _changed(shard, gone=False)


def put(url: str, key: str, content: Path | bytes) -> None:
    """Write the object `key` below `url`: wholly or not at all, in place of what is there.

    Raises:
        UsageError: the URL cannot be used.
        StateUnusable: the store cannot be used.
    """
    folder(url).put(key, content)


def read(url: str, key: str) -> bytes | None:
    """The content of the object `key` below `url`; None when there is none.

    Raises:
        UsageError: the URL cannot be used.
        StateUnusable: the store cannot be used.
    """
    return folder(url).read(key)


def folder(url: str, argument: str = DATA.argument) -> Objects:
    """What is below a URL, which `argument` names in errors; a folder of files is made if it is not there.

    Raises:
        UsageError: the URL cannot be used.
        StateUnusable: the store cannot be used.
    """
    local = _path(url)
    return Objects(url if local is None else local.absolute().as_uri(), replace(DATA, argument=argument))


_Found = tuple[str, int, str]
"""The URL, the bytes and the version of an object."""


def _in_cloud(url: str) -> Iterator[_Found]:
    scheme, _, rest = url.partition("://")
    bucket, *parts = rest.rstrip("/").split("/")
    fixed, pattern = _split(parts)
    base = "/".join([f"{scheme}://{bucket}", *fixed])
    parent, _, name = base.rpartition("/")
    single = Objects(parent, DATA).find(name) if fixed and not pattern and not rest.endswith("/") else None
    if single is not None:
        yield base, single.size_bytes, single.version
        return
    for each in _listed(Objects(base, DATA), "", pattern or [_ANY_DEPTH]):
        if _wanted(each.key.split("/"), pattern):
            yield f"{base}/{each.key}", each.size_bytes, each.version


def _listed(store: Objects, below: str, pattern: Sequence[str]) -> Iterator[Listed]:
    """The objects that may match: no more is listed than has to be, since a bucket may hold anything."""
    if pattern[0] == _ANY_DEPTH:
        yield from store.all(below)
        return
    objects, folders = store.level(below)
    if len(pattern) == 1:
        yield from objects
        return
    for each in folders:
        if fnmatchcase(each.rpartition("/")[2], pattern[0]):
            yield from _listed(store, each, pattern[1:])


def _in_files(path: Path, as_folder: bool) -> Iterator[_Found]:
    path = path.expanduser().absolute()
    if path.is_file() and not as_folder:
        yield _file(path)
        return
    fixed, pattern = _split(path.parts)
    base = Path(*fixed)
    for each in base.glob("/".join(pattern) or "**/*"):
        with suppress(FileNotFoundError):  # removed meanwhile, or a link to nothing
            if _wanted(each.relative_to(base).parts, pattern) and each.is_file():
                yield _file(each)


def _file(path: Path) -> _Found:
    found = path.stat()
    return path.as_posix(), found.st_size, f"{found.st_size}-{found.st_mtime_ns}"


def _split(parts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The folders before the first wildcard, and the rest."""
    first = next((at for at, part in enumerate(parts) if any(mark in part for mark in _WILDCARDS)), len(parts))
    pattern = [part if part == _ANY_DEPTH else part.replace(_ANY_DEPTH, "*") for part in parts[first:]]
    return list(parts[:first]), [*pattern, "*"] if pattern[-1:] == [_ANY_DEPTH] else pattern


def _wanted(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if pattern:
        return _matches(parts, pattern)
    return _matches(parts, [_ANY_DEPTH, "*"]) and parts[-1].lower().removesuffix(".gz").endswith(ENDINGS)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not pattern and not parts
    part, wanted = parts[0], pattern[0]
    hidden = part.startswith(_HIDDEN) and not wanted.startswith(_HIDDEN)
    if wanted == _ANY_DEPTH:
        return _matches(parts, pattern[1:]) or (not hidden and _matches(parts[1:], pattern))
    return not hidden and fnmatchcase(part, wanted) and _matches(parts[1:], pattern[1:])


def _path(url: str) -> Path | None:
    """The path of a file; None for a URL in a cloud."""
    if url.startswith("file://"):
        return Path(url2pathname(url.removeprefix("file://").removeprefix("localhost")))
    return None if "://" in url else Path(url)


def _near(url: str, local: Path | None) -> str:
    """What there is in place of what is not there."""
    if local is None:
        scheme, _, rest = url.partition("://")
        bucket, *parts = rest.rstrip("/").split("/")
        fixed, pattern = _split(parts)
        base = "/".join([f"{scheme}://{bucket}", *(fixed if pattern else fixed[:-1])])
        names = sorted(found.key for found in islice(Objects(base, DATA).all(), _MOST_LISTED))
    else:
        fixed, pattern = _split(local.expanduser().absolute().parts)
        place = Path(*(fixed if pattern else fixed[:-1]))
        base = place.as_posix()
        if not place.is_dir():
            return f"there is no folder {base}"
        names = sorted(each.name for each in place.iterdir() if not each.name.startswith("."))
    if not names:
        return f"there is nothing below {base}"
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return f"below {base} there are {', '.join(excerpt(name, 100) for name in names[:_MOST_NAMED])}{more}"


def _changed(shard: Shard, *, gone: bool) -> InvalidArguments:
    message = f"{shard.url} {'is gone' if gone else 'changed'} since the job was submitted. Nothing more is made of it."
    next_step = "Put it back as it was, or submit the job again, which makes a new one of what is there now."
    return InvalidArguments(ErrorReport("input_changed", message, next_step, at_shell=next_step))
