"""What can be called: an operation of an upstream with all that surrounds it, and the checks that concern it alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from batches_mcp.capability import model
from batches_mcp.capability.diagnostics import Mark, Problems, quote
from batches_mcp.plan import BasicCredential, Feed, Place, fits_header

# A token of RFC 9110 5.6.2; the name of a cookie is one as well (RFC 6265 4.1.1).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Written by the HTTP client itself; a file that sets them would break how requests and answers are framed or coded.
_RESERVED_HEADERS = {
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A `consumes` entry with its credential read; `default_headers` stand in where an operation declares none."""

    consumes: model.Consumes
    credential: Feed | BasicCredential | None
    default_headers: Mapping[str, str]

    @property
    def credential_place(self) -> tuple[Place, str] | None:
        """Where the credential goes: the kind of place and, for headers in lower case, its name."""
        match self.credential:
            case Feed(place=Place.QUERY, name=name):
                return Place.QUERY, name
            case Feed(name=name):
                return Place.HEADER, name.lower()
            case BasicCredential():
                return Place.HEADER, "authorization"
            case None:
                return None


@dataclass(frozen=True, slots=True)
class Target:
    """The operation a call names, and where it stands."""

    upstream: Upstream
    resource: model.Resource
    operation: model.Operation

    def consumed(self) -> dict[tuple[Place, str], model.ConsumedInput]:
        """Every input that is sent, by its place and its name; what is declared nearer to the operation wins."""
        return {
            (Place(each.place_in), each.name.lower() if each.place_in == "header" else each.name): each
            for level in (self.upstream.consumes, self.resource, self.operation)
            for each in level.inputs
            if each.place_in != "environment"
        }

    def whole_body(self) -> model.ConsumedInput | None:
        """The input that is the request's whole body: the only one `in: body`, or the one called so."""
        bodies = [each for each in self.consumed().values() if each.place_in == "body"]
        return bodies[0] if len(bodies) == 1 else next((each for each in bodies if each.name == "body"), None)

    def declared_headers(self) -> set[str]:
        """The headers the file itself gives this operation, in lower case."""
        inputs = {name for place, name in self.consumed() if place is Place.HEADER}
        return inputs | {name.lower() for name in self.upstream.consumes.headers}


def check(target: Target, problems: Problems) -> None:
    """Report what could never be sent as the file says, whoever calls the operation."""
    for name, value in target.upstream.consumes.headers.items():
        entry = target.upstream.consumes.node.entries()["headers"].entries()[name]
        _header(name, value, entry.where, entry.mark, problems)
        _not_credential(target, Place.HEADER, name.lower(), entry.where, problems)
    for (place, name), each in target.consumed().items():
        if place is Place.HEADER:
            _header(each.name, each.value, each.place("name"), each.place("value"), problems)
        elif place is Place.COOKIE and not _TOKEN.fullmatch(each.name):
            problems.error(each.place("name"), "cookie-name", f"{quote(each.name)} is no name of a cookie")
        _not_credential(target, place, name, each.place("name"), problems)
    for level in (target.upstream.consumes, target.resource, target.operation):
        _unique(level.inputs, problems)
        for each in level.inputs:
            if each.place_in == "environment" and each.value is not None:
                problems.error(
                    each.place("value"),
                    "unsupported",
                    "`value` is not supported with `in: environment`",
                    "its name is the variable's: leave `value` out, or bind it under `binds`",
                )
    _bodies(target, problems)


def header_name(name: str, mark: Mark, problems: Problems) -> None:
    """Report a name that a header cannot have."""
    if name.lower() in _RESERVED_HEADERS:
        problems.error(
            mark, "header-name", f"the header {quote(name)} is written by the HTTP client itself", "leave it out"
        )
    elif not _TOKEN.fullmatch(name):
        problems.error(mark, "header-name", f"{quote(name)} is no name of a header")


def _header(name: str, value: object, name_mark: Mark, value_mark: Mark, problems: Problems) -> None:
    header_name(name, name_mark, problems)
    if isinstance(value, str) and not fits_header(value):
        problems.error(
            value_mark,
            "header-value",
            "a header takes printable ASCII only",
            "write it without line breaks and accents",
        )


def _not_credential(target: Target, place: Place, name: str, mark: Mark, problems: Problems) -> None:
    """Nothing may stand where the credential does, least of all a caller's argument."""
    if (place, name) == target.upstream.credential_place:
        problems.error(
            mark, "duplicate-name", f"the {place} {quote(name)} is set by the authentication", "remove one of the two"
        )


def _unique(inputs: Iterable[model.ConsumedInput], problems: Problems) -> None:
    first: dict[tuple[str, str], Mark] = {}
    for each in inputs:
        mark, name = each.place("name"), (each.place_in, each.name)
        if name in first:
            hint = f"first in line {first[name].line}; remove one of the two"
            problems.error(mark, "duplicate-name", f"input {quote(each.name)} is defined twice", hint)
        first.setdefault(name, mark)


def _bodies(target: Target, problems: Problems) -> None:
    operation, whole = target.operation, target.whole_body()
    bodies = [each for each in target.consumed().values() if each.place_in == "body"]
    if operation.method == "GET":
        written = [operation.place("body")] if operation.body else [each.place("place_in") for each in bodies[:1]]
        for mark in written:
            problems.error(mark, "body", "a GET request has no body", "use inputs with `in: query`")
    if operation.body and bodies:
        problems.error(
            bodies[0].place("name"),
            "body",
            "the operation has a `body` and an input `in: body`",
            "keep one of them",
        )
    for each in bodies:
        if whole is not None and each is not whole:
            problems.error(
                each.place("name"),
                "body",
                f"{quote(each.name)} would not be sent: the input {quote(whole.name)} is the whole body",
                "declare the body's fields one by one, or `body` alone",
            )
