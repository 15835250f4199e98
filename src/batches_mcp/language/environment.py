"""Variables of the environment that a file refers to and no bind declares, as in `{{env.SHOP_KEY}}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from batches_mcp.core.diagnostics import Mark
from batches_mcp.language import model
from batches_mcp.language.nodes import Node

# The namespace that published files give to the environment, whether or not they bind anything in it.
_ENVIRONMENT = "env"
_QUALIFIED = re.compile(r"\{\{\s*([A-Za-z0-9_-]+)\.([A-Z][A-Z0-9_]*)\s*\}\}")
# Texts for readers, and what is data or is read otherwise.
_NO_REFERENCES = {
    "description",
    "display",
    "label",
    "outputParameters",
    "prompts",
    "x-guidance",
    "x-output-schema",
    "x-schema",
    "x-search-hint",
}


def undeclared(document: model.Document) -> Mapping[tuple[str, str], Mark]:
    """Each variable of the environment that no bind declares, by namespace and name, with its first place."""
    files = {bind.namespace for bind in document.binds if bind.location is not None}
    environment = ({_ENVIRONMENT} | {bind.namespace for bind in document.binds}) - files
    declared = {(bind.namespace, variable) for bind in document.binds for variable in bind.keys}
    found: dict[tuple[str, str], Mark] = {}
    for part in (*document.capability.consumes, *document.capability.exposes):
        for text, mark in _texts(part.node):
            for match in _QUALIFIED.finditer(text):
                name = match[1], match[2]
                if match[1] in environment and name not in declared:
                    found.setdefault(name, mark)
    return found


def _texts(node: Node) -> Iterator[tuple[str, Mark]]:
    if isinstance(node.value, str):
        if "{{" in node.value:
            yield node.value, node.mark
        return
    for key, entry in node.entries().items():
        if key not in _NO_REFERENCES:
            yield from _texts(entry)
    for item in node.items():
        yield from _texts(item)
