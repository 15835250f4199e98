"""The stored API key: one file of the user's, which the server finds by itself, so that no host's file holds it."""

from __future__ import annotations

import re

from pydantic import SecretStr

from batches_mcp.core.errors import UsageError
from batches_mcp.core.settings import key_file
from batches_mcp.core.variables import is_placeholder
from batches_mcp.hosts import files

# Anthropic documents no more of the form than the beginning, and says that the length may vary.
_FORM = re.compile(r"sk-ant-[A-Za-z0-9_-]{16,}")
_SHOWN = 4


def checked(text: str) -> SecretStr:
    """The key, if it has the form of one.

    Raises:
        UsageError: it has not; the text is not repeated.
    """
    key = text.strip()
    if not key:
        raise UsageError("key: nothing was given; expected an API key, which begins with sk-ant-")
    if is_placeholder(key):
        raise UsageError(f"key: {key} is a placeholder, not a key; copy one from https://platform.claude.com")
    if key.startswith("sk-ant-oat"):
        raise UsageError("key: this is an OAuth token of Claude Code or claude.ai; batches need an API key")
    if key.startswith("sk-ant-admin"):
        raise UsageError("key: this is an admin key, which cannot send requests; batches need an API key")
    if not _FORM.fullmatch(key):
        raise UsageError(
            f"key: expected an API key (sk-ant- and at least 16 letters, digits, - or _), found {len(key)} characters "
            "of another form"
        )
    return SecretStr(key)


def masked(key: SecretStr) -> str:
    """What may be shown of a key, enough to tell it from others."""
    value = key.get_secret_value()
    return f"sk-ant-...{value[-_SHOWN:]}" if _FORM.fullmatch(value) else "***"


def store(key: SecretStr) -> None:
    """Keep the key for all hosts of this user, in a file and a folder that only the user can read.

    Raises:
        UsageError: the file cannot be written.
    """
    path = key_file()
    try:
        files.private_folder(path.parent)
        path.parent.chmod(files.OWNER_ONLY_FOLDER)
        if path.exists():
            path.chmod(files.OWNER_ONLY_FILE)
        files.replace(path, f"{key.get_secret_value()}\n".encode())
    except OSError as error:
        raise UsageError(f"key: cannot write {path}: {error.strerror or error}") from error


def forget() -> bool:
    """Remove the stored key; whether there was one.

    Raises:
        UsageError: the file cannot be removed.
    """
    path = key_file()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"key: cannot remove {path}: {error.strerror or error}") from error
    return True
