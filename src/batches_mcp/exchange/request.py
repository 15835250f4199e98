"""A plan and a caller's arguments -> one HTTP request, exactly as the capability file says. Pure.

Every value goes into one declared place and cannot leave it: path values are percent-encoded in full, dots included,
headers take no control characters, and no text is rendered twice.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from batches_mcp.core.errors import ErrorReport, InvalidArguments
from batches_mcp.core.plan import (
    Argument,
    BasicCredential,
    BodyTemplate,
    Feed,
    FormBodyPlan,
    JsonTemplate,
    Place,
    RequestPlan,
    Template,
    TextBodyPlan,
    Variable,
    fits_header,
)
from batches_mcp.core.variables import Variables
from batches_mcp.exchange.variables import bad_variable, base_url, missing_variable


@dataclass(frozen=True, slots=True)
class Upload:
    """A body too large to hold, made while it is sent: its length in bytes, and its pieces, anew at each call."""

    length: int
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Request:
    """What goes upstream. `url` is complete and encoded; `headers` holds the credential, so nothing prints it."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | Upload | None

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url.partition('?')[0]})"


def build(plan: RequestPlan, arguments: Mapping[str, Any], variables: Mapping[str, SecretStr]) -> Request:
    """Build the request a plan describes. `variables` holds the bound variables that are set.

    Raises:
        MissingVariable: a variable it needs is not set.
        InvalidArguments: a value cannot stand where the plan puts it.
    """
    try:
        return _build(plan, _Renderer(arguments, variables))
    except UnicodeEncodeError as error:
        raise invalid("an argument holds half of a surrogate pair, which is not text.") from error


def _build(plan: RequestPlan, render: _Renderer) -> Request:
    path = "".join(part if isinstance(part, str) else _path_segment(part, render) for part in plan.path)
    values = [(feed, value) for feed in plan.feeds if (value := render.feed(feed)) is not None]
    headers = [(feed.name, _header(feed, value)) for feed, value in values if feed.place is Place.HEADER]
    query = [pair for feed, value in values if feed.place is Place.QUERY for pair in _query(feed, value)]
    cookies = [f"{feed.name}={_cookie(feed, value)}" for feed, value in values if feed.place is Place.COOKIE]
    if cookies:
        headers.append(("Cookie", "; ".join(cookies)))
    media_type, body = _body(values, plan.body, render)
    if body is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", media_type))
    match plan.credential:
        case Feed(place=Place.QUERY, name=name, value=value):
            query.append((name, str(render.template(value))))
        case Feed() | BasicCredential() as credential:
            headers.append(_credential(credential, render))
        case None:
            pass
    search = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    base = base_url(plan, render.variables)
    return Request(plan.method, f"{base}{path}{'?' + search if search else ''}", tuple(headers), body)


def credential_header(credential: Feed | BasicCredential, variables: Mapping[str, SecretStr]) -> tuple[str, str]:
    """The name and the value of the header that shows a credential.

    Raises:
        MissingVariable: a variable it needs is not set.
        CallError: a variable's value cannot stand in a header.
    """
    return _credential(credential, _Renderer({}, variables))


def invalid(message: str) -> InvalidArguments:
    """The error for arguments that do not fit; `message` names each field."""
    return InvalidArguments(ErrorReport("invalid_arguments", message, "Correct the arguments and call again."))


# Stands for an argument that the caller did not give, which is not the same as a JSON null in the file.
_LEFT_OUT = object()


@dataclass(frozen=True, slots=True)
class _Renderer:
    arguments: Mapping[str, Any]
    variables: Mapping[str, SecretStr]

    def feed(self, feed: Feed) -> Any:
        """The feed's value; None when it is left out, because its arguments were."""
        if feed.default is not None and feed.value.variables - self.variables.keys():
            return feed.default
        value = self.template(feed.value)
        return None if value is _LEFT_OUT else value

    def json(self, template: JsonTemplate) -> Any:
        match template:
            case Template():
                return self.template(template)
            case tuple():
                items = [self.json(item) for item in template]
                return [item for item in items if item is not _LEFT_OUT]
            case entries:
                values = {name: self.json(entry) for name, entry in entries.items()}
                return {name: value for name, value in values.items() if value is not _LEFT_OUT}

    def template(self, template: Template) -> Any:
        if len(template.parts) == 1:
            return self._part(template.parts[0])
        parts = [self._part(part) for part in template.parts]
        return _LEFT_OUT if _LEFT_OUT in parts else "".join(map(text, parts))

    def _part(self, part: str | float | bool | Argument | Variable | None) -> Any:
        match part:
            case Argument(name=name):
                value = self.arguments.get(name)
                return _LEFT_OUT if value is None else value
            case Variable(name=name):
                if name not in self.variables:
                    raise missing_variable(name, self._placeholder(name))
                return self.variables[name].get_secret_value()
            case literal:
                return literal

    def _placeholder(self, name: str) -> str | None:
        return self.variables.placeholders.get(name) if isinstance(self.variables, Variables) else None


def text(value: Any) -> str:
    """A JSON value as it stands in a path, a query or a header: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _path_segment(feed: Feed, render: _Renderer) -> str:
    value = render.feed(feed)
    if feed.place is Place.TAIL and isinstance(value, list):
        return _tail(feed, value)
    if isinstance(value, dict | list) or value is None or value == "":
        found = "nothing" if value in (None, "") else "a list or an object"
        raise invalid(f"{_source(feed)}: expected text for the path of the request, found {found}.")
    # RFC 3986 leaves dots alone, but a segment of dots is a step in the path.
    return quote(text(value), safe="").replace(".", "%2E")


def _tail(feed: Feed, segments: list[str]) -> str:
    """The rest of a path; no segment is a step to another one."""
    if any(segment in {".", ".."} for segment in segments):
        raise invalid(f"{_source(feed)}: the path holds a step, `.` or `..`, which is not handed on.")
    return "/".join(quote(segment, safe="!$&'()*+,;=:@~") for segment in segments)


def _query(feed: Feed, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        raise invalid(
            f"{_source(feed)}: an object cannot stand in a {'form' if feed.place is Place.FIELD else 'query'}."
        )
    for each in value if isinstance(value, list) else [value]:
        yield feed.name, text(each)


def _header(feed: Feed, value: Any) -> str:
    if isinstance(value, dict):
        raise invalid(f"{_source(feed)}: an object cannot stand in a header.")
    line = ",".join(map(text, value)) if isinstance(value, list) else text(value)
    if not fits_header(line):
        raise invalid(f"{_source(feed)}: a header takes printable ASCII only, without line breaks.")
    return line.strip()


def _source(feed: Feed) -> str:
    """The arguments that a value is made of, as its caller knows them."""
    return ", ".join(sorted(feed.value.arguments)) or feed.name


def _credential(credential: Feed | BasicCredential, render: _Renderer) -> tuple[str, str]:
    if isinstance(credential, BasicCredential):
        pair = f"{render.template(credential.username)}:{render.template(credential.password)}"
        return "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"
    value = text(render.template(credential.value))
    if not fits_header(value):
        names = " and ".join(sorted(credential.value.variables))
        found = (
            f"the value of {names} has characters that the header {credential.name} cannot hold, so nothing was sent."
        )
        raise bad_variable(found, names)
    return credential.name, value.strip()


def _cookie(feed: Feed, value: Any) -> str:
    return quote(_header(feed, value), safe="")


def _body(values: list[tuple[Feed, Any]], template: BodyTemplate | None, render: _Renderer) -> tuple[str, bytes | None]:
    """The body and its media type."""
    match template:
        case TextBodyPlan(text=written):
            rendered = render.template(written)
            return "text/plain; charset=utf-8", None if rendered is _LEFT_OUT else text(rendered).encode()
        case FormBodyPlan(fields=written_fields):
            rendered_fields = [(each, value) for each in written_fields if (value := render.feed(each)) is not None]
            pairs = [pair for each, value in rendered_fields for pair in _query(each, value)]
            return "application/x-www-form-urlencoded", urlencode(pairs).encode()
        case _:
            return "application/json", _json_body(values, template, render)


def _json_body(values: list[tuple[Feed, Any]], template: JsonTemplate | None, render: _Renderer) -> bytes | None:
    fields: Any = {feed.name: value for feed, value in values if feed.place is Place.FIELD}
    whole = [value for feed, value in values if feed.place is Place.BODY]
    if template is not None:
        whole = [value for value in [render.json(template)] if value is not _LEFT_OUT]
    if not fields and not whole:
        return None
    try:
        content = json.dumps(whole[0] if whole else fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise invalid("an argument holds NaN or an infinite number, which JSON has no form for.") from error
    return content.encode()
