"""A request to one of our routes -> the arguments of the call it makes, by the places that its plan names. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from batches_mcp.core.plan import Argument, Feed, Place, Template, ToolPlan, is_root
from batches_mcp.core.redact import excerpt
from batches_mcp.core.server_plan import RoutePlan
from batches_mcp.exchange.request import invalid

Pairs = Sequence[tuple[str, str]]

# A header of a create: sends what was sent not long ago a second time, and pays it a second time.
ALLOW_DUPLICATE = "batches-mcp-allow-duplicate"

_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"-?\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?")
_MOST_QUERY_VALUES = 1_000


@dataclass(frozen=True, slots=True)
class Matched:
    """A route whose path fits, and what its variables stand for: text, or the segments of all that follows."""

    route: RoutePlan
    variables: Mapping[str, str | list[str]]


def matching(routes: Sequence[RoutePlan], raw_path: str) -> list[Matched]:
    """The routes at a path, percent-encoded as it came; a fixed segment counts for more than a variable.

    Raises:
        InvalidArguments: a variable of the path is not UTF-8.
    """
    found = [(route, match) for route in routes if (match := _pattern(route).fullmatch(raw_path))]
    nearest = min(((route.forwards, len(match.groups())) for route, match in found), default=(False, 0))
    return [
        Matched(
            route,
            {
                name: [_decoded(segment) for segment in text.split("/")] if route.forwards else _decoded(text)
                for name, text in zip(_variables(route), match.groups(), strict=True)
            },
        )
        for route, match in found
        if (route.forwards, len(match.groups())) == nearest
    ]


def path_of(route: RoutePlan, values: Mapping[str, str]) -> str:
    """A route's path with its variables filled in, encoded."""
    return "".join(quote(values[part.name], safe="") if isinstance(part, Argument) else part for part in route.path)


def arguments(
    matched: Matched, query: Pairs, headers: Pairs, cookies: Mapping[str, str], body: Any
) -> tuple[dict[str, Any], Pairs]:
    """The arguments that a request gives, and what of its query is to be handed on as it is.

    `headers` have names in lower case; `body` is the JSON value that came, None when there was none. A query that the
    file knows nothing of goes upstream unchanged, as through any proxy; headers, cookies and the body do not.

    Raises:
        InvalidArguments: something stands where it may not.
    """
    route = matched.route
    taken = set(route.arguments(Place.QUERY))
    closed = _own_query(route) - taken
    own = _fixed_query(route)
    query = [pair for pair in query if pair not in own]
    for name, _ in query:
        if name in closed:
            raise invalid(f"{excerpt(name, 60)}: this server sets that part of the query itself.")
    given = {
        **_body_arguments(route, body),
        **{name: _typed(route, name, values) for name, values in _grouped(query, taken)},
        **{name: _typed(route, name, values) for name, values in _headers(route, headers)},
        **{name: _typed(route, name, [cookies[name]]) for name in route.arguments(Place.COOKIE) if name in cookies},
        **{
            name: value if isinstance(value, list) else _typed(route, name, [value])
            for name, value in matched.variables.items()
        },
    }
    known = {name: value for name, value in given.items() if name in route.tool.input_schema["properties"]}
    return {**known, **route.fixed}, [(name, value) for name, value in query if name not in taken]


def query_pairs(raw: str) -> Pairs:
    """The names and values of a query.

    Raises:
        InvalidArguments: it is not UTF-8, or has too many of them.
    """
    try:
        return parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_MOST_QUERY_VALUES)
    except ValueError as error:
        raise invalid("the query is not UTF-8 text, percent-encoded, of up to 1,000 values.") from error


def refuse_undeclared(route: RoutePlan, headers: Pairs, names: Collection[str]) -> None:
    """See to it that no header of these names, in lower case, is dropped.

    Raises:
        InvalidArguments: there is one that the route does not take.
    """
    for name, _ in headers:
        if name in names and name not in _declared(route):
            raise invalid(f"{name}: {route.method} {route.template} does not hand this header on; leave it out.")


def with_header(route: RoutePlan, tool: ToolPlan, headers: Pairs, name: str) -> ToolPlan:
    """A call whose request has a header as it came, unless the route declares it, and so gives it a place itself."""
    values = [value for each, value in headers if each == name and value]
    if not values or name in _declared(route):
        return tool
    feed = Feed(Place.HEADER, name, Template((", ".join(values),)))
    return replace(tool, request=replace(tool.request, feeds=(*tool.request.feeds, feed)))


def _declared(route: RoutePlan) -> set[str]:
    return {name.lower() for name in route.arguments(Place.HEADER)}


def with_query(tool: ToolPlan, more: Pairs) -> ToolPlan:
    """A call whose request has more in its query."""
    feeds = (Feed(Place.QUERY, name, Template((value,))) for name, value in more)
    return replace(tool, request=replace(tool.request, feeds=(*tool.request.feeds, *feeds)))


def _pattern(route: RoutePlan) -> re.Pattern[str]:
    variable = "(.+)" if route.forwards else "([^/]+)"
    parts = (
        variable if isinstance(part, Argument) else re.escape(quote(part, safe="/:@!$&'()*+,;=~%-._"))
        for part in route.path
    )
    return re.compile("".join(parts))


def _variables(route: RoutePlan) -> list[str]:
    return [part.name for part in route.path if isinstance(part, Argument)]


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise invalid(f"the path holds {excerpt(segment, 60)!r}, which is not UTF-8.") from error


def _own_query(route: RoutePlan) -> set[str]:
    """What the file itself puts into the query of the request: values, and the credential."""
    request = route.tool.request
    feeds = [*request.feeds, *([request.credential] if isinstance(request.credential, Feed) else [])]
    return {feed.name for feed in feeds if feed.place is Place.QUERY}


def _fixed_query(route: RoutePlan) -> set[tuple[str, str]]:
    """The values that the file puts into the query: who asks for the same of them asks for nothing."""
    return {
        (feed.name, part)
        for feed in route.tool.request.feeds
        if feed.place is Place.QUERY and len(feed.value.parts) == 1
        for part in feed.value.parts
        if isinstance(part, str)
    }


def _grouped(pairs: Pairs, names: set[str]) -> Iterator[tuple[str, list[str]]]:
    for name in names:
        if values := [value for each, value in pairs if each == name]:
            yield name, values


def _headers(route: RoutePlan, headers: Pairs) -> Iterator[tuple[str, list[str]]]:
    """Declared headers; one that is given several times is one list, RFC 9110 5.3."""
    for name in route.arguments(Place.HEADER):
        if values := [value for each, value in headers if each == name.lower()]:
            yield name, [", ".join(values)]


def _body_arguments(route: RoutePlan, body: Any) -> dict[str, Any]:
    whole, fields = route.arguments(Place.BODY), route.arguments(Place.FIELD)
    if route.within:
        inside = {name: body[name] for name in fields if name in body} if isinstance(body, dict) else {}
        return {**inside, **dict(_found_within(route, body))}
    if not whole and not fields:
        if body not in (None, {}):
            raise invalid(f"{route.method} {route.template} takes no body.")
        return {}
    if body is None:
        return {}
    if whole:
        # What the entity holds beside it is for the upstream to judge.
        inside = {name: body[name] for name in fields if name in body} if isinstance(body, dict) else {}
        return {**dict.fromkeys(whole, body), **inside}
    if not isinstance(body, dict):
        raise invalid("the body: expected a JSON object.")
    for name in body:
        if name not in fields:
            raise invalid(f"{excerpt(name, 60)}: the body has no such field; known are {', '.join(fields)}.")
    return dict(body)


def _found_within(route: RoutePlan, body: Any) -> Iterator[tuple[str, Any]]:
    """What the JSONPaths of a route find in a body: the first, or all where a list is asked for."""
    if not isinstance(body, dict | list):
        return
    import jsonpath  # slow to import, and few files ask for it

    for name, path in route.within.items():
        values = list(jsonpath.findall("$" if is_root(path) else path, body, strict=True))
        several = route.tool.input_schema["properties"].get(name, {}).get("type") == "array"
        if values:
            yield name, values if several and not isinstance(values[0], list) else values[0]


def _typed(route: RoutePlan, name: str, values: list[str]) -> Any:
    """A value of the type that its schema asks for; what does not fit stays text, for the check to say so."""
    kind = route.tool.input_schema["properties"].get(name, {}).get("type")
    if kind == "array":
        return values if len(values) > 1 else [item.strip() for item in values[0].split(",")]
    if len(values) > 1:
        return values
    value = values[0]
    if kind in {"integer", "number"} and _INTEGER.fullmatch(value):
        return int(value)
    if kind == "number" and _NUMBER.fullmatch(value):
        return float(value)
    if kind == "boolean" and value in {"true", "false"}:
        return value == "true"
    return value
