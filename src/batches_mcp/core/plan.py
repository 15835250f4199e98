"""What a capability file compiles to: everything needed to list a tool, build its request and shape its answer.

Plans are frozen and complete. Nothing behind them looks at the capability file again, and they hold no secret: where a
value comes from the environment, a plan names the variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

JsonSchema = Mapping[str, Any]


class BehaviorName(StrEnum):
    """What an operation on batches does, so that code around its plain forward can do it well (`x-behavior`)."""

    LIST = "list"
    SUBMIT = "submit"
    STATUS = "status"
    RESULTS = "results"
    CANCEL = "cancel"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Argument:
    """A reference to one of the caller's arguments."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A reference to a bound variable, by the name it has in the environment."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """A value to be rendered once: fixed text and JSON values, arguments and variables in order.

    A template of one part keeps that part's JSON type; several parts are joined as text.
    """

    parts: tuple[str | int | float | bool | Argument | Variable | None, ...]

    @property
    def arguments(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, Argument))

    @property
    def variables(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, Variable))


class Place(StrEnum):
    """Where in a request a value goes; FIELD is one field of a JSON body, BODY the whole of it.

    TAIL is the rest of a path, a list of its segments; WITHIN is what a JSONPath finds in the body of a request to us.
    """

    PATH = "path"
    TAIL = "tail"
    QUERY = "query"
    HEADER = "header"
    COOKIE = "cookie"
    FIELD = "field"
    BODY = "body"
    WITHIN = "within"


@dataclass(frozen=True, slots=True)
class Feed:
    """One value of the request: where it goes, what it is made of, and what stands in when a variable is not set."""

    place: Place
    name: str
    value: Template
    default: str | int | float | bool | None = None


# A JSON value in which templates stand; an object's entry whose arguments are left out is left out as well.
JsonTemplate: TypeAlias = "Template | Mapping[str, JsonTemplate] | tuple[JsonTemplate, ...]"


@dataclass(frozen=True, slots=True)
class TextBodyPlan:
    """A body of plain text, left out when an argument in it is."""

    text: Template


@dataclass(frozen=True, slots=True)
class FormBodyPlan:
    """A body of form fields, in order; each is a FIELD, left out when its arguments are."""

    fields: tuple[Feed, ...]


BodyTemplate: TypeAlias = "JsonTemplate | TextBodyPlan | FormBodyPlan"


@dataclass(frozen=True, slots=True)
class BasicCredential:
    """HTTP basic authentication (RFC 7617)."""

    username: Template
    password: Template


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """How a tool's arguments become one HTTP request.

    `path` is split at its variables: a `Feed` stands where a variable was. `body` is used when no feed is for the body.
    `credential` is sent with every request and takes values from the environment only, as the base URI does:
    `base_variables` has the name of the variable for each text that stands for one in `base_uri`. What is `free` costs
    nothing, whatever is sent.
    """

    operation: str
    method: str
    base_uri: str
    path: tuple[str | Feed, ...]
    feeds: tuple[Feed, ...]
    body: BodyTemplate | None
    credential: Feed | BasicCredential | None
    base_variables: Mapping[str, str] = field(default_factory=dict)
    free: bool = False

    def credential_templates(self) -> Iterator[Template]:
        yield from credential_templates(self.credential)


def credential_templates(credential: Feed | BasicCredential | None) -> Iterator[Template]:
    """What a credential is made of."""
    match credential:
        case Feed(value=value):
            yield value
        case BasicCredential(username=username, password=password):
            yield from (username, password)
        case None:
            pass


# RFC 9110 5.5: visible ASCII, space and tab. Anything more is read differently by different servers.
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


def fits_header(value: str) -> bool:
    """Whether a text can be sent as a header's value."""
    return _HEADER_VALUE.fullmatch(value) is not None


def is_root(mapping: str) -> bool:
    """Whether a mapping names the whole answer: `$`, or `$.` as the original's engine also takes it."""
    return mapping.strip() in {"$", "$."}


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """A part of the answer: the node at `mapping` (None: the node it is applied to), or the fixed `value`.

    `properties` and `items` give the shape of an object or a list; without them the node is taken as it is.
    """

    type: str
    mapping: str | None
    value: str | int | float | bool | None
    properties: Mapping[str, OutputPlan] | None
    items: OutputPlan | None


@dataclass(frozen=True, slots=True)
class ResultPlan:
    """How an answer becomes structured content: `outputs` are tried in order, and none means the answer as it is.

    `declared_jsonl` counts only when the upstream names no content type, `binary` only when it names none of JSON.
    """

    outputs: tuple[OutputPlan, ...]
    declared_jsonl: bool
    binary: bool = False

    @property
    def takes_all(self) -> bool:
        """Whether the answer is taken as it is."""
        return all(output == OutputPlan(output.type, None, None, None, None) for output in self.outputs[:1])


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a behaviour does to a tool's arguments.

    It adds `arguments` with their schemas, makes `optional` what the file requires, checks the content of others
    itself, and says why some that it knows are `unavailable` on this server.
    """

    arguments: Mapping[str, JsonSchema] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    checked_by_behavior: frozenset[str] = frozenset()
    unavailable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HintsPlan:
    """MCP's four tool annotations, all of them explicit."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """One tool: what a client sees of it, and what a call does; `behavior` names code around the plain forward.

    `beside` has the paths of the operations that the behaviour needs beside its own; in each that is about one batch,
    one argument stands for it.

    `checked_schema` is the input schema without the content of the arguments that the behaviour checks itself;
    `unavailable` says of arguments that others of our servers take why this one does not. `search_hint` are words to
    find it by.
    """

    name: str
    title: str
    description: str
    hints: HintsPlan
    input_schema: JsonSchema
    output_schema: JsonSchema | None
    request: RequestPlan
    result: ResultPlan
    checked_schema: JsonSchema
    behavior: BehaviorName | None = None
    beside: Mapping[BehaviorName, tuple[str | Feed, ...]] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    search_hint: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether a request may be sent again when it is not known what became of the first."""
        return self.request.method == "GET" or self.hints.idempotent
