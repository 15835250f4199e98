"""Names -> what they name: calls, references, path variables, binds. Every problem is found in one run.

`link` takes a document of good shape or not (see `load`) and never stops at a problem; `Linked` is complete only when
no problem is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from batches_mcp.capability import model
from batches_mcp.capability.bindings import Caller
from batches_mcp.capability.calls import link_call
from batches_mcp.capability.credentials import inbound
from batches_mcp.capability.diagnostics import Diagnostic, Mark, Problems
from batches_mcp.capability.expressions import Binds
from batches_mcp.capability.prompts import LinkedPrompt, link_prompts
from batches_mcp.capability.resources import LinkedResource, link_resources
from batches_mcp.capability.rest import LinkedRest, link_rest
from batches_mcp.capability.scope import Scope, binds_of
from batches_mcp.capability.targets import Target
from batches_mcp.capability.tools import LinkedTool, link_tools
from batches_mcp.capability.upstreams import operations
from batches_mcp.plan import BasicCredential, Feed


@dataclass(frozen=True, slots=True)
class Linked:
    """What a document means; `expose` is None when it exposes nothing over MCP.

    `inbound` is what callers have to show over HTTP, `values` what was read from the files that `binds` names.
    """

    document: model.Document
    expose: model.McpExpose | None
    binds: Binds
    tools: tuple[LinkedTool, ...] = ()
    resources: tuple[LinkedResource, ...] = ()
    prompts: tuple[LinkedPrompt, ...] = ()
    rest: LinkedRest | None = None
    inbound: Feed | BasicCredential | None = None
    values: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    problems: tuple[Diagnostic, ...] = ()


def link(document: model.Document, file: str, texts: Mapping[str, str] | None = None) -> Linked:
    """Resolve every name in the document; `file` names it in diagnostics, `texts` holds the files that it names."""
    problems = Problems(file)
    scope = Scope(problems, binds_of(document))
    capability = document.capability
    scope.unique(
        "namespace",
        [*document.binds, *capability.consumes, *capability.exposes],
        lambda each: each.namespace,
        "namespace",
    )
    targets = operations(capability.consumes, scope)
    exposes = [expose for expose in capability.exposes if isinstance(expose, model.McpExpose)]
    for extra in exposes[1:]:
        problems.error(
            extra.node.where,
            "several-mcp",
            "a second adapter of type `mcp`",
            "one server serves one: merge their tools",
        )
    rests = [expose for expose in capability.exposes if isinstance(expose, model.RestExpose)]
    rest = link_rest(rests, targets, scope)
    _uncalled(capability, targets, scope)
    if not exposes:
        written = capability.node.entries().get("exposes")
        # An entry that `load` could not read, or no list at all, is an error already.
        if written and isinstance(written.value, list) and len(written.value) == len(capability.exposes):
            _no_tools(problems, written.mark, "add an entry with `type: mcp` and its tools")
        return Linked(document, None, scope.binds, problems=tuple(problems.found))
    written = exposes[0].node.entries().get("tools")
    if written and written.value in ([], {}):
        _no_tools(problems, written.mark, "add a tool with its `name` and `call`")
    return Linked(
        document,
        exposes[0],
        scope.binds,
        tools=tuple(link_tools(exposes[0], targets, scope)),
        resources=tuple(link_resources(exposes[0], targets, scope, texts or {})),
        prompts=tuple(link_prompts(exposes[0], scope, texts or {})),
        rest=rest,
        inbound=_inbound(exposes[0], rests, scope),
        problems=tuple(problems.found),
    )


def _no_tools(problems: Problems, mark: Mark, hint: str) -> None:
    problems.error(mark, "no-tools", "nothing is exposed over MCP", hint)


def _inbound(expose: model.McpExpose, rests: Iterable[model.RestExpose], scope: Scope) -> Feed | BasicCredential | None:
    """What callers have to show, whichever way they come."""
    asked = inbound(expose, scope)
    for rest in rests:
        if rest.authentication is not None and inbound(rest, scope) != asked:
            scope.problems.error(
                rest.place("authentication"),
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
        link_call(Caller(nobody, (), ("", "")), targets, scope)
