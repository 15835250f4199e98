"""The capability language as data: what may stand in a file, where, and in which spellings.

Every accepted form ends in these classes: alpha2's lists of named entries and the later maps keyed by name, `label` and
`display`, `naftiko` and `ikanos`. `decode.py` reads a file into them by their field types and `Key` marks.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Literal

from batches_mcp.capability.diagnostics import Mark
from batches_mcp.capability.source import Node

Json = Any


@dataclass(frozen=True)
class Key:
    """How a field is written: its spellings, the first being ours, and whether a list of it may be a map by name."""

    spellings: tuple[str, ...]
    named: bool = False


def key(*spellings: str, named: bool = False, default: Any = MISSING) -> Any:
    """A field written as one of `spellings`; without a default it is required."""
    return field(default=default, metadata={"key": Key(spellings, named)})


def key_of(model_field: Field[Any]) -> Key:
    """How a model's field is written; its own name, in camel case, unless it says otherwise."""
    if "key" in model_field.metadata:
        return model_field.metadata["key"]  # type: ignore[no-any-return]
    head, *rest = model_field.name.split("_")
    return Key((head + "".join(word.capitalize() for word in rest),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Anything decoded from the file; `node` is the mapping it came from."""

    # Keys of Naftiko or Ikanos that are known and not supported, with what to do instead.
    unsupported: ClassVar[dict[str, str]] = {}

    node: Node = field(repr=False, compare=False)

    def place(self, field_name: str) -> Mark:
        """Where a field's value stands; where the object itself does when the file does not say it."""
        for model_field in fields(self):
            if model_field.name == field_name:
                for spelling in key_of(model_field).spellings:
                    if spelling in self.node.entries():
                        return self.node.entries()[spelling].mark
        return self.node.where


@dataclass(frozen=True, slots=True, kw_only=True)
class Info(Located):
    label: str = key("label", "display")
    description: str = ""
    tags: tuple[str, ...] = ()
    created: str | None = None
    modified: str | None = None
    version: str | None = None
    stakeholders: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind(Located):
    """Variables taken from outside: `keys` maps each variable to its name there."""

    unsupported: ClassVar = {"location": "only the environment is read: leave `location` out"}

    namespace: str
    keys: dict[str, str]
    description: str = ""


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
    required: bool | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability(Located):
    unsupported: ClassVar = {
        "aggregates": "write the operation into `consumes` and the tool into `exposes`",
        "binds": "write the binds at the top level of the file",
    }

    consumes: tuple[Consumes, ...]
    exposes: tuple[Expose, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Located):
    unsupported: ClassVar = {"consumes": "a stand-alone consumes file serves nothing: write it under `capability`"}

    version: str = key("naftiko", "ikanos")
    info: Info
    binds: tuple[Bind, ...] = ()
    capability: Capability = key("capability")
