"""The door to the operator's files: only inside the folders the server may read, and only plain files."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from batches_mcp.core.errors import InvalidArguments
from batches_mcp.core.redact import excerpt
from batches_mcp.exchange.request import invalid

# A named pipe would block the open, a link put there in between would lead elsewhere. Windows has neither flag.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# O_PATH, where there is such a thing, opens folders that may be searched but not listed.
_FOLDER_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)

_BUFFER_BYTES = 1 << 18

_MOST_LOOKED_AT = 10_000
_MOST_NAMED = 10
_MOST_NEAR = 3
_LONGEST_NAME = 255


@contextmanager
def opened(argument: str, name: str, roots: Sequence[Path]) -> Iterator[io.BufferedReader[Any]]:
    """Open the file that an argument names, for reading bytes.

    Raises:
        InvalidArguments: it is not inside one of `roots`, not a regular file, or cannot be read.
    """
    root, inside = _within(argument, name, roots)
    if (root / inside).is_dir():
        raise _refused(argument, name, f"is a folder, and one file is needed{_holding(root / inside, name)}")
    try:
        descriptor = _descriptor(root, inside) if _opens_in_folders() else _compared(root / inside)
    except OSError as error:
        raise _refused(argument, name, f"cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(argument, name, "is not a regular file")
    with io.BufferedReader(io.FileIO(descriptor), _BUFFER_BYTES) as file:
        yield file


def identity(file: io.BufferedReader[Any]) -> tuple[int, int]:
    """What changes when a file is written to: its size and the time of the last change."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def _opens_in_folders() -> bool:
    return os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")


def _descriptor(root: Path, inside: Path) -> int:
    """Open a file by its path in a folder, following no link: one that is there now came after the path was resolved.

    Raises:
        OSError: it cannot be opened, or a part of the path is a link.
    """
    *folders, last = inside.parts or (".",)
    folder = os.open(root, _FOLDER_FLAGS)
    try:
        for name in folders:
            deeper = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(last, _FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _compared(path: Path) -> int:
    """Open a file where no folder can be held open, as on Windows, and see that it is the one that its path leads to.

    Raises:
        OSError: it cannot be opened, or is another one.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        same = os.path.samestat(os.fstat(descriptor), path.lstat()) and path.resolve(strict=True) == path
    except OSError:
        os.close(descriptor)
        raise
    if not same:
        os.close(descriptor)
        raise OSError(errno.ELOOP, "its path changed while it was being opened")
    return descriptor


def _within(argument: str, name: str, roots: Sequence[Path]) -> tuple[Path, Path]:
    """Where the file really is, all links resolved: a root, and the path in it; it is there."""
    if "\0" in name:
        raise _refused(argument, name, "is not a file name")
    given = Path(name)
    if any(part.startswith(".") for part in given.parts):
        raise _refused(argument, name, "has a part that starts with a dot, and such files are not read")
    problem = f"is not a file in {' or '.join(map(str, roots))}, where this server may read"
    for root in roots:
        real_root = root.resolve()
        try:
            real = (root / given).resolve(strict=True)
        except (OSError, RuntimeError):  # not there, not ours to look into, or links in a circle
            continue
        if real.is_relative_to(real_root):
            inside = real.relative_to(real_root)
            if any(part.startswith(".") for part in inside.parts):
                raise _refused(argument, name, "leads to a part that starts with a dot, and such files are not read")
            return real_root, inside
    near = [found for root in roots for found in _near(root.resolve(), given)]
    hint = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    raise _refused(argument, name, problem + hint)


def _near(root: Path, given: Path) -> list[str]:
    """Files whose names are much like that of a file that is not there, as a caller would name them."""
    folder = (root / given.parent).resolve()
    if not folder.is_relative_to(root):
        return []
    by_lower = {name.lower(): name for name in _names(folder)}
    near = get_close_matches(given.name.lower()[:_LONGEST_NAME], by_lower, n=_MOST_NEAR)
    return [_shown(given.parent, by_lower[name]) for name in near]


def _holding(folder: Path, name: str) -> str:
    """What files there are in a folder: the first by name."""
    names = sorted(_names(folder))
    if not names:
        return "; it holds none"
    more = len(names) - _MOST_NAMED
    listed = ", ".join(_shown(Path(name), each) for each in names[:_MOST_NAMED])
    return f": {listed}" + (f" or one of {more:,} more" if more > 0 else "")


def _names(folder: Path) -> list[str]:
    """The files of a folder that could be read, as far as it is looked through."""
    try:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in islice(entries, _MOST_LOOKED_AT) if entry.is_file(follow_symlinks=False)]
    except OSError:
        return []
    return [name for name in found if not name.startswith(".")]


def _shown(folder: Path, name: str) -> str:
    return repr(excerpt((folder / name).as_posix(), 200))


def _refused(argument: str, name: str, problem: str) -> InvalidArguments:
    end = "" if problem.endswith("?") else "."
    return invalid(f"{argument}: {excerpt(name, 200)!r} {problem}{end}")
