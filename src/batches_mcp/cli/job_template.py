"""What a run asks of each row: --prompt with its flags, or --template, as the params that rows fill in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batches_mcp.cli.job_input import near_names
from batches_mcp.core.errors import UnreadableFile, UsageError
from batches_mcp.core.redact import excerpt
from batches_mcp.requests.kinds import SEPARATORS, fields, separator_of, suffix

_EXAMPLE = "--model claude-haiku-5-5 --max-tokens 200 -o answers.csv"


@dataclass(frozen=True, slots=True)
class RowFlags:
    """The flags that say what is asked of each row, as they were given."""

    template: str | None = None
    prompt: str | None = None
    model: str | None = None
    max_tokens: int | None = None
    system: str | None = None
    id_column: str | None = None

    @property
    def given(self) -> list[str]:
        names = ("template", "prompt", "model", "max_tokens", "system", "id_column")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


def template_of(file: str, flags: RowFlags) -> Mapping[str, Any] | None:
    """The params that rows of FILE fill in, or with an id column whole requests; None when FILE holds requests.

    Raises:
        UsageError: rows need them, flags are missing or contradict each other, or the template is none.
        UnreadableFile: the template cannot be read.
    """
    if flags.prompt is None and flags.template is None:
        if flags.given:
            raise UsageError(f"{_listed(flags.given)}: only with --prompt; for example:\n  {_example(file)}")
        if suffix(file) in SEPARATORS:
            raise UsageError(_rows_need_more(file))
        return None
    if flags.prompt is not None and flags.template is not None:
        raise UsageError("--prompt and --template both say what to ask of each row; use one of them")
    params = read_template(str(flags.template)) if flags.prompt is None else None
    if params is not None:
        if more := [name for name in flags.given if name not in ("--template", "--id-column")]:
            raise UsageError(f"{_listed(more)}: goes with --prompt; with --template, the template itself says it")
    else:
        params = _of_prompt(file, flags)
    if flags.id_column is None:
        return params
    if "params" in params:
        if "custom_id" in params:
            raise UsageError("--id-column: the template has a custom_id already; use one of them")
        return {"custom_id": f"{{{{{flags.id_column}}}}}", **params}
    return {"custom_id": f"{{{{{flags.id_column}}}}}", "params": params}


def _of_prompt(file: str, flags: RowFlags) -> dict[str, Any]:
    missing = [name for name, value in (("--model", flags.model), ("--max-tokens", flags.max_tokens)) if value is None]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        raise UsageError(f"--prompt: {_listed(missing)} {are} missing; for example:\n  {_example(file)}")
    system = {} if flags.system is None else {"system": flags.system}
    messages = [{"role": "user", "content": flags.prompt}]
    return {"model": flags.model, "max_tokens": flags.max_tokens, **system, "messages": messages}


def read_template(given: str) -> Mapping[str, Any]:
    """The params that a file holds, or the text itself.

    Raises:
        UsageError: it is no JSON object.
        UnreadableFile: the file cannot be read.
    """
    inline = given.lstrip().startswith("{")
    path = Path(given)
    name = "--template" if inline else f"--template: {path}"
    try:
        value = json.loads(given if inline else path.read_text("utf-8-sig"))
    except FileNotFoundError as error:
        hint = near_names(path) or "name a file of JSON, or give the JSON itself, which begins with {"
        raise UnreadableFile(f"{name} is not there; {hint}") from error
    except OSError as error:
        raise UnreadableFile(f"--template: cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{name}: is not JSON: {excerpt(str(error), 200)}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{name}: expected a JSON object, the params of each request")
    return value


def _rows_need_more(file: str) -> str:
    columns = _columns(file)
    named = f" with the columns {', '.join(columns)}" if columns else ""
    return (
        f"{file} holds rows{named}: --prompt, or --template T.json, says what to ask of each; for example:\n"
        f"  {_example(file)}"
    )


def _example(file: str) -> str:
    """A whole command for this file."""
    column = (_columns(file) or ["text"])[-1]
    name = "FILE" if file == "-" else f'"{file}"' if " " in file else file
    return f'batches-mcp run {name} --prompt "Summarise in one sentence: {{{{{column}}}}}" {_EXAMPLE}'


def _columns(file: str) -> list[str]:
    """The columns of a file of separated values, as far as its first line shows them."""
    ending = suffix(file)
    if ending not in SEPARATORS or file.endswith(".gz"):
        return []
    try:
        with Path(file).open(encoding="utf-8-sig") as opened:
            line = opened.readline(1 << 16)
    except (OSError, UnicodeDecodeError):
        return []
    return [excerpt(name, 40) for name in fields(line, separator_of(line, ending))][:20]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
