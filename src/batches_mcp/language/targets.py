"""What can be called: an operation of an upstream with all that surrounds it, and the checks that concern it alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from batches_mcp.core.diagnostics import Mark, Problems, quote
from batches_mcp.core.plan import Argument, BasicCredential, Feed, Place, Variable, fits_header
from batches_mcp.language import model
from batches_mcp.language.origins import Origin

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
class UpstreamApi:
    """A `consumes` entry with its credential read; the headers of its `origin` stand in where an operation
    declares none.

    `base_variables` are those of its base URI, by the text that stands for each; an `Argument` is not bound.
    """

    consumes: model.Consumes
    credential: Feed | BasicCredential | None
    origin: Origin
    base_variables: Mapping[str, Variable | Argument]

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
    """The operation a call names, and where it stands.

    `path` and `query` are the resource's path, which begins with a slash, and what it holds of a query. `other` is
    where another operation of the same name stands, which makes another request.
    """

    upstream: UpstreamApi
    resource: model.Resource
    operation: model.Operation
    path: str
    query: tuple[tuple[str, str], ...] = ()
    other: Mark | None = None

    def same_as(self, target: Target) -> bool:
        """Whether either makes the same request."""

        def request(each: Target) -> object:
            inputs = [entry.node.plain() for entry in (*each.resource.inputs, *each.operation.inputs)]
            body = each.operation.node.entries().get("body")
            return each.resource.path, each.operation.method, inputs, body and body.plain(), each.operation.behavior

        return request(self) == request(target)

    def consumed(self) -> dict[tuple[Place, str], model.ConsumedInput]:
        """Every input that is sent, by its place and its name; what is declared nearer to the operation wins."""
        return {place: each for place, each in self.declared().items() if not self.never_sent(*place, each)}

    def left_out(self) -> Iterator[model.ConsumedInput]:
        """The inputs that are never sent."""
        return (each for place, each in self.declared().items() if self.never_sent(*place, each))

    def never_sent(self, place: Place, name: str, consumed: model.ConsumedInput) -> bool:
        """Whether an input is of no use: the credential stands in its place, or no request has such a thing."""
        return (
            (place, name) == self.upstream.credential_place
            or (place is Place.QUERY and name in dict(self.query))
            or (place is Place.BODY and self.operation.method == "GET")
            or (place is Place.HEADER and name in _RESERVED_HEADERS and consumed.value is None)
        )

    def declared(self) -> dict[tuple[Place, str], model.ConsumedInput]:
        """Every input that the file declares for the operation, sent or not."""
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
        _credential(target, Place.HEADER, name.lower(), entry.where, problems)
    for (place, name), each in target.declared().items():
        if place is Place.HEADER and target.never_sent(place, name, each):
            _reserved(each.name, each.place("name"), problems)
        elif place is Place.HEADER:
            _header(each.name, each.value, each.place("name"), each.place("value"), problems)
        elif place is Place.COOKIE and not _TOKEN.fullmatch(each.name):
            problems.error(each.place("name"), "cookie-name", f"{quote(each.name)} is not a valid cookie name")
        _credential(target, place, name, each.place("name"), problems)
        if place is Place.QUERY and name in dict(target.query):
            message = f"the query {quote(name)} is set by the path {quote(target.resource.path)}"
            problems.warning(each.place("name"), "duplicate-name", message, "the path's value is sent")
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


def header_name(name: str, mark: Mark, problems: Problems) -> bool:
    """Whether a header can have this name; what cannot is reported."""
    if name.lower() in _RESERVED_HEADERS:
        problems.error(
            mark, "header-name", f"the header {quote(name)} is written by the HTTP client itself", "leave it out"
        )
        return False
    if not _TOKEN.fullmatch(name):
        problems.error(mark, "header-name", f"{quote(name)} is not a valid header name")
        return False
    return True


def _header(name: str, value: object, name_mark: Mark, value_mark: Mark, problems: Problems) -> None:
    header_name(name, name_mark, problems)
    if isinstance(value, str) and not fits_header(value):
        problems.error(
            value_mark,
            "header-value",
            "a header takes printable ASCII only",
            "write it without line breaks and accents",
        )


def _credential(target: Target, place: Place, name: str, mark: Mark, problems: Problems) -> None:
    """Nothing stands where the credential does, least of all a caller's argument."""
    if (place, name) == target.upstream.credential_place:
        problems.warning(
            mark,
            "duplicate-name",
            f"the {place} {quote(name)} is set by the authentication",
            "the authentication's value is sent; remove one of the two",
        )


def _reserved(name: str, mark: Mark, problems: Problems) -> None:
    if name.lower() in _RESERVED_HEADERS:
        problems.warning(
            mark,
            "header-name",
            f"the header {quote(name)} is written by the HTTP client itself",
            "it is left out, and so is its argument",
        )


def _unique(inputs: Iterable[model.ConsumedInput], problems: Problems) -> None:
    first: dict[tuple[str, str], model.ConsumedInput] = {}
    for each in inputs:
        name = each.place_in, each.name
        if name in first:
            hint = f"first in line {first[name].place('name').line}; remove one of the two"
            # Twice the same does no harm.
            report = problems.warning if first[name].value == each.value else problems.error
            report(each.place("name"), "duplicate-name", f"input {quote(each.name)} is defined twice", hint)
        first.setdefault(name, each)


def _bodies(target: Target, problems: Problems) -> None:
    operation, whole = target.operation, target.whole_body()
    bodies = [each for each in target.declared().values() if each.place_in == "body"]
    if operation.method == "GET":
        written = [operation.place("body")] if operation.body else [each.place("place_in") for each in bodies[:1]]
        for mark in written:
            problems.warning(mark, "body", "a GET request has no body", "none is sent; use inputs with `in: query`")
        return
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
