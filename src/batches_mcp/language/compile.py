"""Linked names -> plans: tools, resources and prompts as a client sees them, and the requests they make. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from batches_mcp.core.errors import UsageError
from batches_mcp.core.plan import (
    Argument,
    BehaviorName,
    Contribution,
    Feed,
    HintsPlan,
    OutputPlan,
    RequestPlan,
    ResultPlan,
    ToolPlan,
    Variable,
    credential_templates,
    is_root,
)
from batches_mcp.core.server_plan import PromptArgumentPlan, PromptPlan, ResourcePlan, ServerPlan
from batches_mcp.language import model
from batches_mcp.language.baseuri import base_uri_problem, environment_name
from batches_mcp.language.bindings import Input
from batches_mcp.language.calls import LinkedCall
from batches_mcp.language.link import Linked
from batches_mcp.language.origins import origin_of
from batches_mcp.language.prompts import LinkedPrompt
from batches_mcp.language.resources import LinkedResource
from batches_mcp.language.targets import Target
from batches_mcp.language.tools import LinkedTool

# A variable that is not used as a credential, but is called like one, is kept out of sight as well.
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")

_NOTHING = Contribution()


def compile_server(
    linked: Linked,
    base_url: str | None = None,
    environment: Mapping[str, str] | None = None,
    contributions: Mapping[str, Contribution] | None = None,
) -> ServerPlan:
    """Compile a linked file.

    `base_url` replaces the file's baseUri, `environment` is asked for a known origin's own variable, and
    `contributions` says what each behaviour adds to its tools.

    Raises:
        UsageError: the base URL cannot be used for this file.
    """
    expose, info, environment = linked.expose, linked.document.info, environment or {}
    tools = tuple(
        _tool(each, request_plan(each.call, base_url, environment), contributions or {}) for each in linked.tools
    )
    resources = tuple(_resource(each, base_url, environment) for each in linked.resources)
    binds = {**linked.binds.sources(), **{environment_name(name, environment): name for name in linked.base_names}}
    calls = [tool.call for tool in linked.tools] + [each.call for each in linked.resources if each.call is not None]
    if base_url and len({origin_of(call.target.upstream.consumes.base_uri) for call in calls}) > 1:
        raise UsageError("--base-url cannot be used with this capability file: it consumes several origins")
    return ServerPlan(
        name="batches-mcp",
        title=title(linked),
        instructions=(expose and (expose.guidance or expose.description)) or (info.description if info else ""),
        port=expose.port if expose else None,
        tools=tools,
        bound=frozenset(binds) - linked.values.keys(),
        secrets=_secrets(linked, [*tools, *(each.call for each in resources if each.call is not None)]),
        binds=binds,
        inbound=linked.inbound,
        resources=resources,
        prompts=tuple(map(_prompt, linked.prompts)),
    )


def _secrets(linked: Linked, calls: Iterable[ToolPlan]) -> frozenset[str]:
    credentials = [call.request.credential for call in calls] + [linked.inbound]
    used = {name for each in credentials for template in credential_templates(each) for name in template.variables}
    called_so = {name for name in linked.binds.sources() if any(word in name.upper() for word in _SECRET_WORDS)}
    return frozenset(used | called_so | linked.values.keys())


def title(linked: Linked) -> str:
    """What a file calls itself."""
    info, exposes = linked.document.info, linked.document.capability.exposes
    return info.label if info else title_of(exposes[0].namespace if exposes else "")


def _tool(linked: LinkedTool, request: RequestPlan, contributions: Mapping[str, Contribution]) -> ToolPlan:
    tool, call, target = linked.tool, linked.call, linked.call.target
    contribution = contributions.get(target.operation.behavior or "", _NOTHING)
    schema = input_schema(call, contribution)
    return ToolPlan(
        name=tool.name,
        title=tool.label or title_of(tool.name),
        description="\n\n".join(text for text in (tool.description, tool.guidance) if text),
        hints=_hints(tool.hints),
        input_schema=schema,
        checked_schema=_checked_schema(schema, contribution),
        output_schema=tool.output_schema,
        request=request,
        result=result_plan(tool.outputs, target),
        behavior=behavior_of(target),
        beside=call.beside,
        unavailable=contribution.unavailable,
        search_hint=tool.search_hint,
    )


def _resource(linked: LinkedResource, base_url: str | None, environment: Mapping[str, str]) -> ResourcePlan:
    resource, call = linked.resource, linked.call
    shown = resource.label or title_of(resource.name)
    return ResourcePlan(
        name=resource.name,
        title=shown,
        description=resource.description,
        uri=linked.uri,
        mime_type=resource.mime_type or ("text/plain" if call is None else "application/json"),
        call=None if call is None else _read(resource, shown, call, request_plan(call, base_url, environment)),
        text=linked.text or "",
    )


def _read(resource: model.McpResource, shown: str, call: LinkedCall, request: RequestPlan) -> ToolPlan:
    """The call that reads a resource: a GET with nothing but the variables of the URI for arguments."""
    schema = input_schema(call)
    return ToolPlan(
        name=resource.name,
        title=shown,
        description=resource.description,
        hints=HintsPlan(read_only=True, destructive=False, idempotent=True, open_world=True),
        input_schema=schema,
        checked_schema=schema,
        output_schema=None,
        request=request,
        result=result_plan(resource.outputs, call.target),
        behavior=behavior_of(call.target),
        beside=call.beside,
    )


def _prompt(linked: LinkedPrompt) -> PromptPlan:
    prompt = linked.prompt
    return PromptPlan(
        name=prompt.name,
        title=prompt.label or title_of(prompt.name),
        description=prompt.description,
        arguments=tuple(
            PromptArgumentPlan(each.name, each.label or title_of(each.name), each.description, each.required)
            for each in prompt.inputs
        ),
        messages=linked.messages,
    )


def title_of(name: str) -> str:
    """A title for what has only a name."""
    return " ".join(word.capitalize() for word in name.replace("_", "-").split("-"))


def request_plan(call: LinkedCall, base_url: str | None, environment: Mapping[str, str]) -> RequestPlan:
    """The request that a call makes; `base_url` and `environment` are as for `compile_server`.

    Raises:
        UsageError: the URL that was given cannot be used.
    """
    target = call.target
    base = base_uri(target, base_url, environment)
    return RequestPlan(
        operation=f"{target.upstream.consumes.namespace}.{target.operation.name}",
        method=target.operation.method,
        base_uri=base,
        path=call.path,
        feeds=call.feeds,
        body=call.body,
        credential=target.upstream.credential,
        base_variables={
            text: variable.name if isinstance(variable, Variable) else environment_name(variable.name, environment)
            for text, variable in target.upstream.base_variables.items()
            if text in base
        },
        free=target.operation.free,
    )


def behavior_of(target: Target) -> BehaviorName | None:
    """The behaviour of an operation."""
    name = target.operation.behavior
    return None if name is None else BehaviorName(name)


def result_plan(outputs: Iterable[model.Output], target: Target) -> ResultPlan:
    """What becomes of a call's answer."""
    return ResultPlan(
        outputs=tuple(_output(each) for each in outputs),
        declared_jsonl=target.operation.output_raw_format == "jsonl",
        binary=target.operation.output_raw_format == "binary",
    )


def _hints(hints: model.Hints | None) -> HintsPlan:
    if hints is None:
        return HintsPlan(read_only=False, destructive=True, idempotent=False, open_world=True)
    return HintsPlan(hints.read_only, hints.destructive, hints.idempotent, hints.open_world)


def base_uri(target: Target, base_url: str | None, environment: Mapping[str, str]) -> str:
    """Where requests go: the flag or our variable, else the origin's own variable, else the file.

    Raises:
        UsageError: the URL that was given cannot be used.
    """
    own = target.upstream.consumes.base_uri.rstrip("/")
    variable = target.upstream.origin.base_url_variable
    if base_url:
        given, name = base_url.rstrip("/"), "--base-url"
    elif variable and environment.get(variable, "").strip():
        given, name = environment[variable].strip().rstrip("/"), variable
    else:
        return own
    problem = base_uri_problem(given)
    if problem:
        raise UsageError(f"{name}: the URL {problem}; expected for example https://gateway.example.com")
    keep_path = name == variable or urlsplit(given).path == ""
    # Not by `urlsplit`, to which a variable in braces is not a host.
    path = own.partition("://")[2].partition("/")[2]
    return f"{given}/{path}" if keep_path and path else given


def input_schema(call: LinkedCall, contribution: Contribution = _NOTHING) -> Mapping[str, Any]:
    """The JSON Schema of a call's arguments, and what a behaviour does to it."""
    in_path = {
        part.name
        for feed in call.path
        if isinstance(feed, Feed)
        for part in feed.value.parts
        if isinstance(part, Argument)
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {each.name: _property(each, in_path=each.name in in_path) for each in call.inputs},
        "additionalProperties": False,
    }
    schema["properties"].update(contribution.arguments)
    required = [each.name for each in call.inputs if each.required and each.name not in contribution.optional]
    return {**schema, "required": required} if required else schema


def _checked_schema(schema: Mapping[str, Any], contribution: Contribution) -> Mapping[str, Any]:
    """The input schema, but nothing about what is inside the arguments that the behaviour checks itself."""
    properties = {
        name: {"type": each["type"]} if name in contribution.checked_by_behavior else each
        for name, each in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _property(declared: Input, *, in_path: bool) -> Mapping[str, Any]:
    schema: dict[str, Any] = {"type": declared.type} if declared.type else {}
    if declared.description:
        schema["description"] = declared.description
    if in_path and declared.type == "string":
        # An empty segment would be another path.
        schema["minLength"] = 1
    return {**schema, **(declared.schema or {})}


def _output(output: model.Output) -> OutputPlan:
    return OutputPlan(
        type=output.type,
        mapping=None if output.mapping is None or is_root(output.mapping) else output.mapping,
        value=output.value,
        properties={name: _output(each) for name, each in output.properties.items()} if output.properties else None,
        items=_output(output.items) if output.items else None,
    )
