"""Names -> what they name: calls, references, path variables, binds. Every problem is found in one run.

`link` takes a document of good shape or not (see `load`) and never stops at a problem; `Linked` is complete only when
no problem is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from batches_mcp.core.diagnostics import Diagnostic, Problems, did_you_mean, quote
from batches_mcp.core.plan import BasicCredential, Feed
from batches_mcp.language import model
from batches_mcp.language.bindings import Caller
from batches_mcp.language.calls import link_call
from batches_mcp.language.credentials import inbound
from batches_mcp.language.environment import undeclared
from batches_mcp.language.expressions import Binds
from batches_mcp.language.origins import Origin
from batches_mcp.language.prompts import LinkedPrompt, link_prompts
from batches_mcp.language.resources import LinkedResource, link_resources
from batches_mcp.language.rest import LinkedRest, link_rest
from batches_mcp.language.scope import Scope, binds_of
from batches_mcp.language.targets import Target
from batches_mcp.language.tools import LinkedTool, link_tools
from batches_mcp.language.upstreams import consumed

_NO_TOOLS = "nothing is exposed over MCP"


@dataclass(frozen=True, slots=True)
class Linked:
    """What a document means; `expose` is None when it exposes nothing over MCP.

    `base_names` are the variables of base URIs that are not bound, `inbound` is what callers have to show over HTTP,
    `values` what was read from the files that `binds` names.
    """

    document: model.Document
    expose: model.McpExpose | None
    binds: Binds
    tools: tuple[LinkedTool, ...] = ()
    resources: tuple[LinkedResource, ...] = ()
    prompts: tuple[LinkedPrompt, ...] = ()
    rest: LinkedRest | None = None
    base_names: frozenset[str] = frozenset()
    inbound: Feed | BasicCredential | None = None
    values: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    problems: tuple[Diagnostic, ...] = ()


def link(
    document: model.Document,
    file: str,
    texts: Mapping[str, str] | None = None,
    origins: Mapping[str, Origin] | None = None,
) -> Linked:
    """Resolve every name in the document; `file` names it in diagnostics, `texts` holds the files that it names.

    `origins` is what is known of upstreams, by their origins.
    """
    problems = Problems(file)
    unbound = undeclared(document)
    for (namespace, name), mark in unbound.items():
        near = did_you_mean(name, [key for bind in document.binds if bind.namespace == namespace for key in bind.keys])
        problems.warning(
            mark,
            "undeclared-variable",
            f"{quote(f'{namespace}.{name}')} is bound nowhere",
            f"the variable {name} of the environment is read; "
            + (near if near.startswith("did") else f"add it to the `keys` of {quote(namespace)}"),
        )
    scope = Scope(problems, binds_of(document, unbound))
    capability = document.capability
    entries = document.node.entries()
    if entries and entries.get("info") is None:
        hint = "write `info` with a `label`, which clients show"
        problems.warning(document.node.where, "missing-key", "key `info` is missing", hint)
    scope.unique(
        "namespace",
        [*document.binds, *capability.consumes, *capability.exposes],
        lambda each: each.namespace,
        "namespace",
    )
    found = consumed(capability.consumes, scope, origins or {})
    exposes = [expose for expose in capability.exposes if isinstance(expose, model.McpExpose)]
    for extra in exposes[1:]:
        problems.error(
            extra.node.where,
            "several-mcp",
            "a second adapter of type `mcp`",
            "one server serves one: merge their tools",
        )
    rests = [expose for expose in capability.exposes if isinstance(expose, model.RestExpose)]
    with problems.within(model.RestExpose.part):
        rest = link_rest(rests, found, scope)
    _uncalled(capability, found.operations, scope)
    linked = Linked(document, next(iter(exposes), None), scope.binds, rest=rest, base_names=found.base_names)
    with problems.within(model.McpExpose.part):
        if linked.expose is not None:
            linked = replace(
                linked,
                tools=tuple(link_tools(linked.expose, found.operations, scope)),
                resources=tuple(link_resources(linked.expose, found.operations, scope, texts or {})),
                prompts=tuple(link_prompts(linked.expose, scope, texts or {})),
            )
        _no_tools(linked, scope)
    return replace(linked, inbound=_inbound(linked.expose, rests, scope), problems=tuple(problems.found))


def _no_tools(linked: Linked, scope: Scope) -> None:
    """Report that there is nothing for an MCP client, unless `load` has said why."""
    capability = linked.document.capability
    if linked.expose is None:
        written = capability.node.entries().get("exposes")
        if written and isinstance(written.value, list) and len(written.value) == len(capability.exposes):
            rest = any(isinstance(each, model.RestExpose) and each.resources for each in capability.exposes)
            report = scope.problems.warning if rest else scope.problems.error
            report(written.mark, "no-tools", _NO_TOOLS, "add an entry with `type: mcp` and its tools")
    else:
        written = linked.expose.node.entries().get("tools")
        if written and written.value in ([], {}):
            scope.problems.error(written.mark, "no-tools", _NO_TOOLS, "add a tool with its `name` and `call`")


def _inbound(
    expose: model.McpExpose | None, rests: Sequence[model.RestExpose], scope: Scope
) -> Feed | BasicCredential | None:
    """What callers have to show, whichever way they come."""
    adapters: list[model.McpExpose | model.RestExpose] = [*([expose] if expose else []), *rests]
    asked: Feed | BasicCredential | None = None
    for adapter in adapters:
        with scope.problems.within(adapter.part):
            own = inbound(adapter, scope)
        if adapter is adapters[0]:
            asked = own
        elif adapter.authentication is not None and own != asked:
            scope.problems.error(
                adapter.place("authentication"),
                "authentication",
                "the adapters ask different things of their callers",
                "one server asks the same of all: write the same into the adapter of type `mcp`",
            )
    return asked


def _uncalled(capability: model.Capability, targets: Mapping[str, Target], scope: Scope) -> None:
    """Report the problems of operations that nobody calls, which a call would bring to light."""
    called: set[str | None] = set()
    for expose in capability.exposes:
        if isinstance(expose, model.McpExpose):
            called |= {tool.call for tool in expose.tools} | {resource.call for resource in expose.resources}
        else:
            called |= {each.call for resource in expose.resources for each in resource.operations}
    for name in targets.keys() - called:
        nobody = model.Tool(node=targets[name].operation.node, name="", call=name)
        link_call(Caller(nobody, (), ("", "")), {name: replace(targets[name], other=None)}, scope)
