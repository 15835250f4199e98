"""Whose batches a request is about: the workspace of its credential, and the folder that this is kept in.

A workspace may have many credentials: keys are rotated, tokens live for minutes. The API names the workspace in its
answers, and that is remembered under the credential's hash. Until then a credential is an account by itself.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import SecretStr

from batches_mcp.api.headers import WORKSPACE_HEADER
from batches_mcp.core.errors import StateUnusable
from batches_mcp.core.plan import RequestPlan
from batches_mcp.core.state import StateFolder, create
from batches_mcp.exchange import request
from batches_mcp.language.origins import origin_of

# Below the state folder: for each credential and each workspace a file that names the account's folder.
_FOLDER = "accounts"
_NAME = re.compile(r"[0-9a-f]{24}")


class AccountNames(Protocol):
    """Which account a credential or workspace belongs to, by their hashes.

    Raises:
        StateUnusable: from both, when that place cannot be used.
    """

    @property
    def remote(self) -> bool:
        """Whether reading asks another machine, which is for a worker thread."""

    def read(self, name: str) -> str | None: ...

    def remember(self, name: str, account: str) -> str:
        """Name the account of a credential or workspace, unless one is named already; the one that is."""


@dataclass(frozen=True, slots=True)
class NameFiles:
    """Those names in the state folder: for each credential and each workspace a file."""

    state: StateFolder
    remote: bool = False

    def read(self, name: str) -> str | None:
        # With every call that asks for one batch, and mostly in vain: a Path would take as long as the look itself.
        path = os.path.join(self.state.path, _FOLDER, name)  # noqa: PTH118
        with suppress(OSError, UnicodeDecodeError), open(path, encoding="ascii") as file:  # noqa: PTH123
            found = file.read()
            return found if _NAME.fullmatch(found) else None
        return None

    def remember(self, name: str, account: str) -> str:
        path = self.state.folder(_FOLDER) / name
        with suppress(OSError), create(path) as file:
            file.write(account.encode("ascii"))
        return self.read(name) or account


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts that a program works for; `named` is the one that the operator says it is, if so.

    Whatever needs a name may raise StateUnusable where names are kept in a database.
    """

    names: AccountNames
    variables: Mapping[str, SecretStr]
    named: str | None = None
    _credentials: dict[tuple[Any, ...], tuple[str, str]] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    # What `look_up` did not find, and why.
    _missing: dict[str, StateUnusable | None] = field(default_factory=dict)

    def name_of(self, plan: RequestPlan) -> str:
        """A name for the account of a request, from which neither credential nor origin can be told.

        Raises:
            MissingVariable: the credential is not set.
        """
        origin, credential = self._credential(plan)
        if self.named is not None:
            return _hash(origin, "account", self.named)
        return self._name(credential) or credential

    def is_known(self, plan: RequestPlan) -> bool:
        """Whether it is known which account a credential belongs to.

        Raises:
            MissingVariable: the credential is not set.
        """
        return self.named is not None or self._name(self._credential(plan)[1]) is not None

    def needs_look_up(self, plan: RequestPlan) -> bool:
        """Whether `look_up` is to be called before whatever else needs the name.

        Raises:
            MissingVariable: the credential is not set.
        """
        return self.names.remote and self.named is None and self._credential(plan)[1] not in self._known

    def look_up(self, plan: RequestPlan) -> None:
        """Read the name from another machine; what was found counts until the next look.

        Raises:
            MissingVariable: the credential is not set.
        """
        credential = self._credential(plan)[1]
        try:
            found = self.names.read(credential)
        except StateUnusable as error:
            self._missing[credential] = error
            return
        if found is None:
            self._missing[credential] = None
        else:
            self._known[credential] = found

    def learn(self, plan: RequestPlan, headers: Mapping[str, str], begun: Callable[[str], bool]) -> None:
        """Remember the workspace that an answer names. An account that has `begun`, by its name, stays what it is.

        Raises:
            StateUnusable: the state folder cannot be written to.
        """
        workspace = headers.get(WORKSPACE_HEADER)
        if not workspace or self.is_known(plan):
            return
        origin, credential = self._credential(plan)
        shared = self.names.remember(_hash(origin, "workspace", workspace), credential)
        own = begun(credential)
        self._known[credential] = self.names.remember(credential, credential if own else shared)

    def _credential(self, plan: RequestPlan) -> tuple[str, str]:
        """The origin of a request, and the hash of its credential there."""
        key = plan.base_uri, plan.credential
        if key not in self._credentials:
            bare = request.build(replace(plan, path=(), feeds=(), body=None), {}, self.variables)
            credential = "\n".join(f"{name.lower()}: {value}" for name, value in bare.headers)
            origin, query = origin_of(bare.url), bare.url.partition("?")[2]
            self._credentials[key] = origin, _hash(origin, query, credential)
        return self._credentials[key]

    def _name(self, credential: str) -> str | None:
        if credential not in self._known and credential in self._missing:
            if (error := self._missing[credential]) is not None:
                raise error
        elif credential not in self._known and (found := self.names.read(credential)):
            self._known[credential] = found
        return self._known.get(credential)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
