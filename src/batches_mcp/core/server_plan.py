"""What a server offers of a compiled capability file: tools, routes, resources and prompts, and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from batches_mcp.core.plan import Argument, BasicCredential, BehaviorName, Feed, Place, Template, ToolPlan


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
