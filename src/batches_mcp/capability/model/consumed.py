"""What is consumed: an upstream, its operations, and how requests to it are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from batches_mcp.capability.model.declare import Json, Located, key


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Located):
    type: Literal["apikey"]
    name: str = key("key", "name")
    value: str
    placement: Literal["header", "query"] = key("placement", "in", default="header")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer(Located):
    type: Literal["bearer"]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Basic(Located):
    type: Literal["basic"]
    username: str
    password: str


Authentication = ApiKey | Bearer | Basic


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedInput(Located):
    """An input of the upstream. `type`, `description` and `required` are the seed dialect's."""

    name: str
    place_in: Literal["query", "header", "path", "cookie", "body"] = key("in")
    value: str | int | float | bool | None = None
    type: Literal["string", "number", "integer", "boolean", "array", "object"] | None = None
    description: str = ""
    required: bool | None = None
    schema: dict[str, Json] | None = key("x-schema", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body(Located):
    """A request body as data, whose texts may be templates; a text that is one reference keeps its value's type."""

    type: Literal["json"]
    data: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Located):
    unsupported: ClassVar = {"outputSchema": "leave it out: answers are JSON or JSONL"}

    name: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[ConsumedInput, ...] = key("inputParameters", named=True, default=())
    body: Body | None = None
    behavior: Literal["cancel", "delete", "list", "results", "status", "submit"] | None = key(
        "x-behavior", default=None
    )
    output_raw_format: Literal["json", "jsonl"] = "json"
    outputs: Json = key("outputParameters", default=None)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Located):
    name: str
    path: str
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[ConsumedInput, ...] = key("inputParameters", named=True, default=())
    operations: tuple[Operation, ...] = key("operations", named=True)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumes(Located):
    unsupported: ClassVar = {
        "location": "imports are not supported: put the file's content here",
        "from": "imports are not supported: put the file's content here",
        "import": "imports are not supported: put the file's content here",
        "as": "imports are not supported: put the file's content here",
        "tunnel": "tunnels are not supported: name a reachable baseUri",
    }

    type: Literal["http"]
    namespace: str
    base_uri: str
    description: str = ""
    inputs: tuple[ConsumedInput, ...] = key("inputParameters", named=True, default=())
    headers: dict[str, str | int | float | bool] = field(default_factory=dict)
    authentication: Authentication | None = None
    resources: tuple[Resource, ...] = key("resources", named=True)
    tags: tuple[str, ...] = ()
