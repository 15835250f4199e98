"""The teams file: values that know their place -> teams, keys and claims, and all that is wrong with them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from batches_mcp.access.keys import NamedKey, hash_of
from batches_mcp.access.principal import ADMIN, APPROVE, SCOPES, WRITE, Caps, Team
from batches_mcp.core.diagnostics import Diagnostic, Mark, Problems, did_you_mean, quote
from batches_mcp.core.text import CAP_EXPECTED
from batches_mcp.language.nodes import Node, ParsedFile

Lookup = Callable[[str, str], SecretStr | str]
"""The secret that `api_key_env` or `api_key_file`, the first argument, names by the second; or what is wrong."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_TOP = ("teams", "keys", "claims")
_TEAM = ("api_key_env", "api_key_file", "cap_usd", "approve_over_usd", "requests_per_minute")
_CAPS = ("day", "month")
_KEY = ("name", "sha256", "team", "scopes")
_MOST_PER_MINUTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Teams:
    """What a teams file says. `claims` are values of the team claim, each with its team, in the order of the file."""

    teams: Mapping[str, Team] = field(default_factory=dict)
    keys: Sequence[NamedKey] = ()
    claims: Mapping[str, Team] = field(default_factory=dict)

    @property
    def capped(self) -> bool:
        """Whether there is a cap on what a team spends."""
        return any(team.caps for team in self.teams.values())

    @property
    def api_keys(self) -> list[SecretStr]:
        return [team.api_key for team in self.teams.values() if team.api_key is not None]


def read_teams(parsed: ParsedFile, lookup: Lookup) -> tuple[Teams, tuple[Diagnostic, ...]]:
    """What a parsed file means, as far as it can be known, and all that is wrong with it by the order of lines."""
    reader = _Reader(Problems(parsed.file, list(parsed.problems)), lookup)
    teams = reader.file(parsed.root)
    return teams, tuple(sorted(set(reader.problems.found)))


@dataclass(slots=True)
class _Reader:
    problems: Problems
    lookup: Lookup

    def file(self, root: Node) -> Teams:
        entries = self._entries(root, "the file", _TOP)
        if isinstance(root.value, dict) and "teams" not in entries:
            self.problems.error(root.mark, "missing-key", "the file has no `teams`", "name at least one team")
        named = self._mapping(entries.get("teams"), "`teams`")
        if "teams" in entries and entries["teams"].value in ({}, None):
            self.problems.error(entries["teams"].where, "missing-key", "`teams` names no team")
        for name, node in named.items():
            self._name(node.where, name, "a team")
        teams = {name: self._team(name, node) for name, node in named.items()}
        keys = self._keys(entries.get("keys"), teams)
        claims = {
            value: team
            for value, node in self._mapping(entries.get("claims"), "`claims`").items()
            if (team := self._team_named(node, teams)) is not None
        }
        found = Teams(teams, keys, claims)
        for name, node in named.items():
            if found.teams[name].approve_over_usd is not None:
                self._approvers(found, found.teams[name], node.entries()["approve_over_usd"])
        return found

    def _approvers(self, found: Teams, team: Team, node: Node) -> None:
        """See to it that there is somebody who may approve what others of a team create."""
        if team in found.claims.values():
            return  # whoever has a token with the scope
        approvers = {
            key.name
            for key in found.keys
            if APPROVE in key.scopes
            and (key.team == team or (ADMIN in key.scopes and key.team.api_key == team.api_key))
        }
        alone = [key.name for key in found.keys if key.team == team and WRITE in key.scopes and approvers <= {key.name}]
        if not approvers or alone:
            whom = (
                "nobody" if not approvers else f"nobody but {quote(alone[0])}, who may not approve their own creates,"
            )
            message = f"{whom} can approve what costs more than `approve_over_usd` of the team {quote(team.name)}"
            self.problems.error(node.mark, "no-approver", message, f"give a key of the team the scope {APPROVE}")

    def _team(self, name: str, node: Node) -> Team:
        entries = {} if node.value is None else self._entries(node, f"the team {quote(name)}", _TEAM)
        given = [key for key in ("api_key_env", "api_key_file") if key in entries]
        if len(given) > 1:
            where = entries[given[1]].where
            self.problems.error(
                where, "two-keys", f"the team {quote(name)} names two API keys", f"keep one of {' and '.join(given)}"
            )
        api_keys = [self._api_key(each, entries[each]) for each in given]
        caps = self._entries(entries["cap_usd"], "`cap_usd`", _CAPS) if "cap_usd" in entries else {}
        if "cap_usd" in entries and entries["cap_usd"].value == {}:
            self.problems.error(entries["cap_usd"].where, "missing-key", "`cap_usd` has neither `day` nor `month`")
        return Team(
            name,
            next((each for each in api_keys if each is not None), None),
            Caps(self._usd(caps.get("day")), self._usd(caps.get("month"))),
            self._usd(entries.get("approve_over_usd")),
            self._per_minute(entries.get("requests_per_minute")),
        )

    def _api_key(self, kind: str, node: Node) -> SecretStr | None:
        text = self._text(node, f"`{kind}`")
        if text is None:
            return None
        found = self.lookup(kind, text)
        if isinstance(found, str):
            self.problems.error(node.mark, "api-key", found)
            return None
        return found

    def _keys(self, node: Node | None, teams: Mapping[str, Team]) -> list[NamedKey]:
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            self._wrong(node, "`keys`", "a list")
            return []
        names: dict[str, Mark] = {}
        hashes: dict[str, Mark] = {}
        return [key for item in node.items() for key in self._key(item, teams, names, hashes)]

    def _key(
        self, node: Node, teams: Mapping[str, Team], names: dict[str, Mark], hashes: dict[str, Mark]
    ) -> Iterator[NamedKey]:
        entries = self._entries(node, "a key", _KEY)
        if not isinstance(node.value, dict):
            return
        for each in _KEY:
            if each not in entries:
                self.problems.error(node.mark, "missing-key", f"a key has no `{each}`", _KEY_HINT)
        name = self._text(entries.get("name"), "`name`")
        if name is not None:
            self._name(entries["name"].mark, name, "a key")
            self._once(entries["name"].mark, names, name, f"the name {quote(name)} is given to two keys")
        sha256 = self._sha256(entries.get("sha256"))
        if sha256 is not None:
            self._once(entries["sha256"].mark, hashes, sha256, "two keys have the same hash, and so are one key")
        team = self._team_named(entries["team"], teams) if "team" in entries else None
        scopes = self._scopes(entries.get("scopes"))
        if name is not None and sha256 is not None and team is not None and scopes:
            yield NamedKey(name, sha256, team, scopes)

    def _once(self, mark: Mark, seen: dict[str, Mark], value: str, message: str) -> None:
        if value in seen:
            self.problems.error(mark, "duplicate", message, f"the first stands in line {seen[value].line}")
        seen.setdefault(value, mark)

    def _sha256(self, node: Node | None) -> str | None:
        if node is None:
            return None
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            self.problems.error(node.mark, "sha256", "the hash is read as a number", "put it in quotes")
            return None
        text = self._text(node, "`sha256`")
        if text is None:
            return None
        if not _SHA256.fullmatch(text):
            # What stands there may be the key itself, and is not repeated.
            message = f"expected 64 hexadecimal digits, found {len(text)} characters"
            self.problems.error(node.mark, "sha256", message, "`batches-mcp teams key` prints a key and its hash")
            return None
        if text.lower() == _OF_NOTHING:
            self.problems.error(node.mark, "sha256", "this is the hash of an empty key, which anybody has")
            return None
        return text.lower()

    def _scopes(self, node: Node | None) -> frozenset[str]:
        if node is None:
            return frozenset()
        if not isinstance(node.value, list):
            self._wrong(node, "`scopes`", "a list")
            return frozenset()
        if not node.items():
            self.problems.error(node.mark, "scope", "`scopes` is empty, so that the key opens nothing")
        known = set()
        for item in node.items():
            text = self._text(item, "a scope")
            if text is not None and text not in SCOPES:
                self.problems.error(item.mark, "scope", f"there is no scope {quote(text)}", did_you_mean(text, SCOPES))
            elif text is not None:
                known.add(text)
        return frozenset(known)

    def _team_named(self, node: Node, teams: Mapping[str, Team]) -> Team | None:
        name = self._text(node, "the name of a team")
        if name is None:
            return None
        if name not in teams:
            self.problems.error(node.mark, "team", f"there is no team {quote(name)}", did_you_mean(name, list(teams)))
        return teams.get(name)

    def _usd(self, node: Node | None) -> float | None:
        if node is None:
            return None
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            found = quote(value) if isinstance(value, str | int | float) else node.kind
            self.problems.error(node.mark, "amount", f"{CAP_EXPECTED}; found {found}")
            return None
        try:
            return float(value)
        except OverflowError:
            self.problems.error(node.mark, "amount", "the amount is larger than any number this program can hold")
            return None

    def _per_minute(self, node: Node | None) -> int | None:
        if node is None:
            return None
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST_PER_MINUTE:
            found = quote(value) if isinstance(value, str | int | float) else node.kind
            message = f"expected a whole number from 1 to {_MOST_PER_MINUTE:,}; found {found}"
            self.problems.error(node.mark, "requests-per-minute", message)
            return None
        return value

    def _name(self, mark: Mark, name: str, what: str) -> None:
        if not NAME.fullmatch(name):
            message = f"{quote(name)} cannot be the name of {what}"
            self.problems.error(mark, "name", message, "use letters, digits, `.`, `_` and `-`, at most 64")

    def _text(self, node: Node | None, what: str) -> str | None:
        if node is None:
            return None
        if not isinstance(node.value, str) or not node.value:
            self._wrong(node, what, "text")
            return None
        return node.value

    def _mapping(self, node: Node | None, what: str) -> dict[str, Node]:
        if node is None:
            return {}
        if node.value is not None and not isinstance(node.value, dict):
            self._wrong(node, what, "a mapping")
        return node.entries()

    def _entries(self, node: Node, what: str, known: Sequence[str]) -> dict[str, Node]:
        """The entries of a mapping of which it is known what may stand in it."""
        if not isinstance(node.value, dict):
            self._wrong(node, what, "a mapping")
        for name, each in node.entries().items():
            if name not in known:
                hint = _NOT_HERE.get(name) or did_you_mean(name, known)
                self.problems.error(each.where, "unknown-key", f"{what} has no key {quote(name)}", hint)
        return node.entries()

    def _wrong(self, node: Node, what: str, expected: str) -> None:
        found = "empty text" if node.value == "" else node.kind
        self.problems.error(node.mark, "wrong-type", f"{what}: expected {expected}, found {found}")


_KEY_HINT = "`batches-mcp teams key NAME --team T` prints a whole line"
_OF_NOTHING = hash_of("")
_NOT_HERE = {
    "api_key": "a key does not stand in the file; name its variable (`api_key_env`) or its file (`api_key_file`)",
    "key": "a key does not stand in the file; `sha256` is its hash",
}
