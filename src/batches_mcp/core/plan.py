"""What a capability file compiles to: everything needed to list a tool, build its request and shape its answer.

Plans are frozen and complete. Nothing behind them looks at the capability file again, and they hold no secret: where a
value comes from the environment, a plan names the variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

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
    `base_variables` has the name of the variable for each text that stands for one in `base_uri`.
    """

    operation: str
    method: str
    base_uri: str
    path: tuple[str | Feed, ...]
    feeds: tuple[Feed, ...]
    body: BodyTemplate | None
    credential: Feed | BasicCredential | None
    base_variables: Mapping[str, str] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One operation exposed over REST: where it is, and the call it makes, which is a tool's in all but its caller.

    `path` is split at its variables; `places` says where the caller puts each argument, under the argument's own name,
    `within` by which JSONPath those in the place WITHIN are found, and `fixed` holds those that the file gives itself.
    """

    method: str
    path: tuple[str | Argument, ...]
    tool: ToolPlan
    places: Mapping[str, Place]
    fixed: Mapping[str, str | int | float | bool]
    within: Mapping[str, str] = field(default_factory=dict)

    @property
    def forwards(self) -> bool:
        """Whether its last variable stands for all that follows in the path."""
        return Place.TAIL in self.places.values()

    @property
    def template(self) -> str:
        """The path with its variables in braces."""
        return "".join(f"{{{part.name}}}" if isinstance(part, Argument) else part for part in self.path)

    @property
    def reads_only(self) -> bool:
        return self.method == self.tool.request.method == "GET"

    @property
    def spools_body(self) -> bool:
        """Whether its body may be too large to be held, and is sent on as it came."""
        return self.tool.behavior is BehaviorName.SUBMIT and bool(self.arguments(Place.BODY, Place.FIELD))

    @property
    def arguments_in_path(self) -> tuple[str, ...]:
        return self.arguments(Place.PATH)

    def arguments(self, *places: Place) -> tuple[str, ...]:
        """The arguments that callers put into one of these places."""
        return tuple(name for name, place in self.places.items() if place in places and name not in self.fixed)


@dataclass(frozen=True, slots=True)
class RestPlan:
    """What a capability file exposes over REST; `port` is the one it asks for."""

    title: str
    description: str
    port: int | None
    routes: tuple[RoutePlan, ...]


@dataclass(frozen=True, slots=True)
class ResourcePlan:
    """Something to read under a URI: what a `call` answers, which is a tool's in all but its caller, or a `text`.

    `uri` is split at its variables, the arguments of the call; one without any is a static resource.
    """

    name: str
    title: str
    description: str
    uri: tuple[str | Argument, ...]
    mime_type: str
    call: ToolPlan | None
    text: str

    @property
    def template(self) -> str:
        """The URI with its variables in braces (RFC 6570)."""
        return "".join(f"{{{part.name}}}" if isinstance(part, Argument) else part for part in self.uri)

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.name for part in self.uri if isinstance(part, Argument)))


Role: TypeAlias = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class PromptArgumentPlan:
    """What the user fills into a prompt; always text."""

    name: str
    title: str
    description: str
    required: bool


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """A text that users send to the model: the role and the text of each message, in which arguments stand."""

    name: str
    title: str
    description: str
    arguments: tuple[PromptArgumentPlan, ...]
    messages: tuple[tuple[Role, Template], ...]


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A compiled capability file.

    `bound` are the environment variables it reads, `secrets` the variables whose values must never be shown, `binds`
    how the file calls each variable (`namespace.VARIABLE`). `inbound` is what callers over HTTP have to show.
    """

    name: str
    title: str
    instructions: str
    port: int | None
    tools: tuple[ToolPlan, ...]
    bound: frozenset[str]
    secrets: frozenset[str]
    binds: Mapping[str, str] = field(default_factory=dict)
    inbound: Feed | BasicCredential | None = None
    resources: tuple[ResourcePlan, ...] = ()
    prompts: tuple[PromptPlan, ...] = ()

    @property
    def calls(self) -> tuple[ToolPlan, ...]:
        """Everything that makes requests: the tools, and what resources are read by."""
        return (*self.tools, *(each.call for each in self.resources if each.call is not None))
