"""What is exposed: tools, resources and prompts over MCP, and operations over REST."""

from __future__ import annotations

from typing import ClassVar, Literal

from batches_mcp.language.model.authentication import Authentication
from batches_mcp.language.model.declare import IMPORT_KEYS, Json, Located, declared, key


@declared
class Output(Located):
    """How a part of the answer is made: mapped from the upstream's, or a fixed value."""

    type: Literal["string", "number", "integer", "boolean", "array", "object"]
    mapping: str | None = None
    value: str | int | float | bool | None = None
    properties: dict[str, Output] | None = None
    items: Output | None = key("items", wrapped=True, default=None)
    name: str = ""
    description: str = ""


@declared
class ToolInput(Located):
    name: str
    type: Literal["string", "number", "integer", "boolean", "array", "object"]
    description: str = ""
    required: bool = True
    schema: dict[str, Json] | None = key("x-schema", default=None)


@declared
class Hints(Located):
    """What a client may assume of a tool; the defaults are MCP's."""

    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = True


_ONE_CALL = "it makes one call: name its operation with `call`"
_NO_MOCK = "a mock is not supported: name the operation with `call`, or use `batches-mcp sandbox`"
_ONE_CALL_KEYS = {"steps": _ONE_CALL, "ref": _ONE_CALL, "mappings": _ONE_CALL}
_CALL = {"steps": _ONE_CALL, "ref": _ONE_CALL, "outputParameters": _NO_MOCK}

_UNSUPPORTED_INBOUND = {
    "digest": "callers can show a `bearer` token, an `apikey` or `basic` credentials",
    "oauth2": "callers can show a `bearer` token; put a proxy in front of the server for OAuth",
}


@declared
class Tool(Located):
    unsupported: ClassVar = _ONE_CALL_KEYS
    instead: ClassVar = {"call": _CALL}

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
    search_hint: str = key("x-search-hint", default="")
    tags: tuple[str, ...] = ()


@declared
class McpResource(Located):
    """Something to read under a URI: the answer of a call, or a text file beside the capability.

    Variables `{x}` in the URI make it a template; they are the arguments of the call.
    """

    unsupported: ClassVar = _ONE_CALL_KEYS | {"binary": "resources are text: leave it out"}

    name: str
    uri: str
    call: str | None = None
    location: str | None = None
    label: str = key("label", "display", default="")
    description: str = ""
    mime_type: str | None = None
    arguments: dict[str, str | int | float | bool] | None = key("with", default=None)
    outputs: tuple[Output, ...] = key("outputParameters", default=())
    tags: tuple[str, ...] = ()


@declared
class PromptArgument(Located):
    """What the user fills into a prompt: text, as all of MCP's prompt arguments."""

    name: str
    label: str = key("label", "display", default="")
    description: str = ""
    required: bool = True


@declared
class PromptMessage(Located):
    """One message; `{{x}}` in its content is an argument of the prompt."""

    role: Literal["user", "assistant"]
    content: str


@declared
class Prompt(Located):
    """A text that users send to the model: messages, or a file that holds the one user message."""

    name: str
    label: str = key("label", "display", default="")
    description: str = ""
    template: tuple[PromptMessage, ...] | None = None
    location: str | None = None
    inputs: tuple[PromptArgument, ...] = key("arguments", named=True, default=())
    tags: tuple[str, ...] = ()


_CACHING = "leave it out: clients may keep the lists for five minutes"


@declared
class McpExpose(Located):
    part: ClassVar = "mcp"
    unsupported: ClassVar = IMPORT_KEYS | {
        "ttlMs": _CACHING,
        "cacheScope": _CACHING,
        "maxBinarySize": "leave it out: how much of an answer is read is limited already",
    }

    type: Literal["mcp"]
    namespace: str
    tools: tuple[Tool, ...] = key("tools", named=True)
    description: str = ""
    guidance: str = key("x-guidance", default="")
    resources: tuple[McpResource, ...] = key("resources", named=True, default=())
    prompts: tuple[Prompt, ...] = key("prompts", named=True, default=())
    authentication: Authentication | None = key("authentication", unsupported=_UNSUPPORTED_INBOUND, default=None)
    transport: Literal["http", "stdio"] | None = None
    address: str | None = None
    port: int | None = None


@declared
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
    def from_body(self) -> str | None:
        """The JSONPath of what it takes out of the request's body, if it says one."""
        given = self.value
        return given if self.place_in == "body" and isinstance(given, str) and given.startswith("$") else None

    @property
    def required(self) -> bool:
        """A path has all of its variables; of other places the file must say so, as in OpenAPI."""
        return self.place_in == "path" or self.given_required is True

    @property
    def schema(self) -> dict[str, Json] | None:
        return {"pattern": self.pattern, **(self.given_schema or {})} if self.pattern else self.given_schema


@declared
class RestOperation(Located):
    unsupported: ClassVar = _ONE_CALL_KEYS | {
        "responses": "leave it out: the upstream's answer is handed on as it is",
        "responseBinary": "leave it out: the upstream's answer is handed on as it is",
    }
    instead: ClassVar = {"call": _CALL}

    name: str = ""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    call: str
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[RestInput, ...] = key("inputParameters", named=True, default=())
    arguments: dict[str, str | int | float | bool] | None = key("with", default=None)
    outputs: tuple[Output, ...] = key("outputParameters", default=())
    output_schema: dict[str, Json] | None = key("x-output-schema", default=None)


@declared
class Forward(Located):
    """Every path below the resource's is handed on to an upstream, with these headers of its caller."""

    target_namespace: str
    trusted_headers: tuple[str, ...] = ()


@declared
class RestResource(Located):
    """A path with its operations, or one whose last variable stands for all that follows, which is handed on."""

    path: str
    name: str = ""
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[RestInput, ...] = key("inputParameters", named=True, default=())
    operations: tuple[RestOperation, ...] = key("operations", named=True, default=())
    forward: Forward | None = None


@declared
class RestExpose(Located):
    part: ClassVar = "rest"
    unsupported: ClassVar = IMPORT_KEYS

    type: Literal["rest"]
    namespace: str
    resources: tuple[RestResource, ...] = key("resources", named=True)
    authentication: Authentication | None = key("authentication", unsupported=_UNSUPPORTED_INBOUND, default=None)
    description: str = ""
    address: str | None = None
    port: int | None = None


Expose = McpExpose | RestExpose
