"""Prompts: their messages, in which the user's arguments stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batches_mcp.core.diagnostics import Mark, did_you_mean, quote
from batches_mcp.core.plan import Argument, Template
from batches_mcp.core.server_plan import Role
from batches_mcp.language import expressions, model
from batches_mcp.language.scope import Scope


@dataclass(frozen=True, slots=True)
class LinkedPrompt:
    """A prompt with the role and the text of each message; its templates hold arguments only, no bound variable."""

    prompt: model.Prompt
    messages: tuple[tuple[Role, Template], ...]


def link_prompts(expose: model.McpExpose, scope: Scope, texts: Mapping[str, str]) -> Iterator[LinkedPrompt]:
    """Every prompt, with the problems of all reported; `texts` holds the files that were read."""
    scope.unique("prompt", expose.prompts, lambda each: each.name)
    for prompt in expose.prompts:
        scope.described("prompt", prompt)
        scope.unique("argument", prompt.inputs, lambda each: each.name)
        if (prompt.template is None) is (prompt.location is None):
            _error(prompt.place("name"), scope, prompt, "has either a `template` or a `location`", "give it one")
            continue
        contents: list[tuple[Role, str, Mark]]
        if prompt.location is not None:
            contents = [("user", texts.get(prompt.location, ""), prompt.place("location"))]
        else:
            contents = [(each.role, each.content, each.place("content")) for each in prompt.template or ()]
        if not contents:
            _error(prompt.place("template"), scope, prompt, "has no message", "write one with `role` and `content`")
        messages = tuple((role, _template(prompt, text, mark, scope)) for role, text, mark in contents)
        used = {name for _, template in messages for name in template.arguments}
        for each in prompt.inputs:
            if each.name and each.name not in used:
                scope.problems.warning(
                    each.place("name"),
                    "unused-input",
                    f"argument {quote(each.name)} goes nowhere",
                    f"write {quote('{{' + each.name + '}}')} where it belongs",
                )
        yield LinkedPrompt(prompt, messages)


def _template(prompt: model.Prompt, text: str, mark: Mark, scope: Scope) -> Template:
    """The text split at its arguments; braces around anything else stay as they are, since prompts quote code."""
    declared = [each.name for each in prompt.inputs]
    parts: list[str | Argument] = []
    for part in expressions.split(text):
        if isinstance(part, str) or part.name in declared:
            parts.append(part)
        else:
            shown = "{{" + part.name + "}}"
            hint = did_you_mean(part.name, declared)
            hint = hint if hint.startswith("did") else "declare it under `arguments`"
            _error(mark, scope, prompt, f"names {quote(shown)}, which is not an argument of it", hint)
    return Template(tuple(parts) or ("",))


def _error(mark: Mark, scope: Scope, prompt: model.Prompt, found: str, hint: str) -> None:
    if prompt.name:
        scope.problems.error(mark, "prompt", f"prompt {quote(prompt.name)} {found}", hint)
