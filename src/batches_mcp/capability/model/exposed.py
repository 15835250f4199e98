"""What is exposed: tools over MCP, and operations over REST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from batches_mcp.capability.model.declare import Json, Located, key


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Located):
    """How a part of the answer is made: mapped from the upstream's, or a fixed value."""

    type: Literal["string", "number", "integer", "boolean", "array", "object"]
    mapping: str | None = None
    value: str | int | float | bool | None = None
    properties: dict[str, Output] | None = None
    items: Output | None = None
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolInput(Located):
    name: str
    type: Literal["string", "number", "integer", "boolean", "array", "object"]
    description: str = ""
    required: bool = True
    schema: dict[str, Json] | None = key("x-schema", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints(Located):
    """What a client may assume of a tool; the defaults are MCP's."""

    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = True


_ONE_CALL = "a tool makes one call: name it with `call`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(Located):
    unsupported: ClassVar = {"steps": _ONE_CALL, "ref": _ONE_CALL, "mappings": _ONE_CALL}

    name: str
    call: str
    description: str = ""
    label: str = key("label", "display", default="")
    inputs: tuple[ToolInput, ...] = key("inputParameters", named=True, default=())
    arguments: dict[str, str | int | float | bool] | None = key("with", default=None)
    hints: Hints | None = None
    outputs: tuple[Output, ...] = key("outputParameters", default=())
    output_schema: dict[str, Json] | None = key("x-output-schema", default=None)
    guidance: str = key("x-guidance", default="")
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class McpExpose(Located):
    unsupported: ClassVar = {
        "authentication": "the server's own token is BATCHES_MCP_TOKEN",
        "resources": "expose tools only",
        "prompts": "expose tools only",
    }

    type: Literal["mcp"]
    namespace: str
    tools: tuple[Tool, ...] = key("tools", named=True)
    description: str = ""
    guidance: str = key("x-guidance", default="")
    transport: Literal["http", "stdio"] | None = None
    address: str | None = None
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestInput(Located):
    name: str
    place_in: Literal["query", "header", "path", "cookie", "body"] = key("in")
    type: Literal["string", "number", "integer", "boolean", "array", "object"]
    description: str = ""
    pattern: str | None = None
    value: str | int | float | bool | None = None
    given_required: bool | None = key("required", default=None)
    given_schema: dict[str, Json] | None = key("x-schema", default=None)

    @property
    def required(self) -> bool:
        """A path has all of its variables; of other places the file must say so, as in OpenAPI."""
        return self.place_in == "path" or self.given_required is True

    @property
    def schema(self) -> dict[str, Json] | None:
        return {"pattern": self.pattern, **(self.given_schema or {})} if self.pattern else self.given_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class RestOperation(Located):
    unsupported: ClassVar = {"steps": _ONE_CALL, "ref": _ONE_CALL, "mappings": _ONE_CALL}

    name: str = ""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    call: str
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[RestInput, ...] = key("inputParameters", named=True, default=())
    arguments: dict[str, str | int | float | bool] | None = key("with", default=None)
    outputs: tuple[Output, ...] = key("outputParameters", default=())
    output_schema: dict[str, Json] | None = key("x-output-schema", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestResource(Located):
    unsupported: ClassVar = {"forward": "name each operation with `call`"}

    path: str
    name: str = ""
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[RestInput, ...] = key("inputParameters", named=True, default=())
    operations: tuple[RestOperation, ...] = key("operations", named=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestExpose(Located):
    unsupported: ClassVar = {"authentication": "the server's own token is BATCHES_MCP_TOKEN"}

    type: Literal["rest"]
    namespace: str
    resources: tuple[RestResource, ...] = key("resources", named=True)
    description: str = ""
    address: str | None = None
    port: int | None = None


Expose = McpExpose | RestExpose
