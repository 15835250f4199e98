"""What is consumed: an upstream, its operations, and how requests to it are made."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar, Literal

from batches_mcp.language.model.authentication import Authentication
from batches_mcp.language.model.declare import IMPORT_KEYS, Json, Located, declared, key


@declared
class ConsumedInput(Located):
    """A value that requests carry, or one that is taken from the environment.

    `type`, `description` and `required` are the seed dialect's.
    """

    name: str
    place_in: Literal["query", "header", "path", "cookie", "body", "environment"] = key("in")
    value: str | int | float | bool | None = None
    type: Literal["string", "number", "integer", "boolean", "array", "object"] | None = None
    description: str = ""
    required: bool | None = None
    schema: dict[str, Json] | None = key("x-schema", default=None)


@declared
class JsonBody(Located):
    """A request body as data, whose texts may be templates; a text that is one reference keeps its value's type."""

    type: Literal["json"]
    data: Json


@declared
class TextBody(Located):
    """A request body as text, with templates in it."""

    type: Literal["text"]
    data: str


@declared
class FormBody(Located):
    """A request body of form fields: a map of templates, or `name=value` pairs joined by `&`.

    Published files say `form` as well.
    """

    type: Literal["formUrlEncoded", "form"]
    data: str | dict[str, str | int | float | bool]


Body = JsonBody | TextBody | FormBody


@declared
class Operation(Located):
    unsupported: ClassVar = {
        "path": "give the operation a resource of its own, with this path",
        "outputSchema": "leave it out: answers are JSON or JSONL",
        "outputMediaType": "leave it out: answers are JSON or JSONL",
        "maxBinarySize": "leave it out: answers are JSON or JSONL",
    }

    name: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[ConsumedInput, ...] = key("inputParameters", named=True, default=())
    body: str | Body | None = key(
        "body",
        unsupported={
            "multipartForm": "files cannot be uploaded: send what there is as JSON or formUrlEncoded",
            "xml": "write it as `type: text`, with an input `in: header` called Content-Type",
            "sparql": "write it as `type: text`, with an input `in: header` called Content-Type",
        },
        default=None,
    )
    behavior: Literal["cancel", "delete", "list", "results", "status", "submit"] | None = key(
        "x-behavior", default=None
    )
    free: bool = key("x-free", default=False)
    output_raw_format: Literal["json", "jsonl", "binary"] = key(
        "outputRawFormat",
        unsupported=dict.fromkeys(
            ("xml", "avro", "protobuf", "csv", "tsv", "psv", "yaml", "html", "markdown"),
            "have the API answer with JSON, for example by an input `in: header` called Accept",
        ),
        default="json",
    )
    outputs: Json = key("outputParameters", default=None)
    tags: tuple[str, ...] = ()


@declared
class Resource(Located):
    name: str
    path: str
    label: str = key("label", "display", default="")
    description: str = ""
    inputs: tuple[ConsumedInput, ...] = key("inputParameters", named=True, default=())
    operations: tuple[Operation, ...] = key("operations", named=True)
    tags: tuple[str, ...] = ()


@declared
class Consumes(Located):
    unsupported: ClassVar = IMPORT_KEYS | {
        "location": IMPORT_KEYS["from"],
        "maxBinarySize": "leave it out: answers are JSON or JSONL",
        "tunnel": "name a `baseUri` that can be reached without a tunnel",
    }
    instead: ClassVar = dict.fromkeys(("type", "namespace", "baseUri"), IMPORT_KEYS)

    type: Literal["http"] = key(
        "type", unsupported=dict.fromkeys(("mcp", "grpc", "sql", "file"), "only HTTP APIs are consumed: `type: http`")
    )
    namespace: str
    base_uri: str
    description: str = ""
    inputs: tuple[ConsumedInput, ...] = key("inputParameters", named=True, default=())
    headers: dict[str, str | int | float | bool] = field(default_factory=dict)
    authentication: Authentication | None = key(
        "authentication",
        unsupported={
            "digest": "use `basic` or `bearer` where the API takes them",
            "oauth2": "fetch a token outside, bind it, and send it as `bearer`",
        },
        default=None,
    )
    resources: tuple[Resource, ...] = key("resources", named=True, default=())
    tags: tuple[str, ...] = ()
