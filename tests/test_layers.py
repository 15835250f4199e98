"""The cut of the program, held by its imports: who may use which outside thing, and that imports only go down."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "batches_mcp"
OURS = "batches_mcp"

# From the bottom up. A module imports from rows below its own, never from its own row or above.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__",),
    ("redact", "plan"),
    ("capability.diagnostics",),
    ("errors",),
    ("settings", "signals", "state", "capability.source", "capability.expressions"),
    ("hosts.__init__", "hosts.files", "hosts.jsonc", "hosts.launch", "hosts.machine"),
    ("hosts.documents", "hosts.keystore", "hosts.own", "hosts.probe", "hosts.toml", "hosts.yaml"),
    ("hosts.table",),
    ("hosts.changes", "hosts.snippets"),
    ("hosts.claude", "hosts.findings"),
    ("capability.baseuri", "capability.model.declare", "capability.origins"),
    ("capability.model.authentication",),
    ("capability.model.consumed", "capability.model.exposed"),
    ("capability.model.document",),
    ("capability.model.__init__",),
    (
        "capability.environment",
        "capability.load",
        "capability.local",
        "capability.schema",
        "capability.scope",
        "capability.targets",
        "capability.verify",
    ),
    ("capability.bindings", "capability.credentials", "capability.prompts"),
    ("capability.bodies", "capability.upstreams", "capability.variables"),
    ("capability.calls",),
    ("capability.route",),
    ("capability.forwards", "capability.resources", "capability.tools"),
    ("capability.rest",),
    ("capability.link",),
    ("capability.parts",),
    ("capability.__init__",),
    ("compile", "explain", "request", "uri"),
    ("narrow", "routes"),
    ("result", "arguments", "recent", "incoming"),
    ("failure", "openapi", "relayed", "turns"),
    ("upstream",),
    ("forward",),
    (
        "batch.__init__",
        "batch.create.__init__",
        "batch.job.__init__",
        "batch.requests.__init__",
        "batch.results.__init__",
        "batch.facts",
        "batch.headers",
        "batch.links",
        "batch.requests.models",
        "batch.requests.problems",
        "batch.requests.received",
        "batch.siblings",
        "batch.tokens",
    ),
    ("batch.about", "batch.newest"),
    ("batch.create.entry", "batch.requests.demand", "batch.requests.shape"),
    (
        "batch.create.database",
        "batch.create.delivery",
        "batch.create.evidence",
        "batch.requests.files",
        "batch.create.presence",
        "batch.requests.reading",
        "batch.create.retryable",
        "batch.results.rows",
    ),
    ("batch.cost", "batch.create.kept", "batch.create.ledger", "batch.create.refusals", "batch.requests.scan"),
    ("batch.account", "batch.create.records"),
    ("batch.call", "batch.requests.source"),
    ("batch.results.spool", "batch.results.ended", "batch.results.view", "batch.results.stored"),
    ("batch.results.columns",),
    (
        "batch.results.spooling",
        "batch.results.page",
        "batch.results.cursor",
        "batch.results.expiry",
        "batch.results.own",
    ),
    ("batch.results.download", "batch.results.asked", "batch.results.export"),
    ("batch.results.picking",),
    ("batch.requests.body", "batch.create.reconcile", "batch.create.retry"),
    ("batch.hearing", "batch.create.deliver", "batch.runtime"),
    ("batch.create.send",),
    ("batch.ending", "batch.listing", "batch.results.answer", "batch.create.submit", "batch.wait"),
    ("batch.create.exposed",),
    ("batch.behaviors", "batch.job.steps"),
    ("batch.job.asking", "batch.job.intake"),
    ("batch.job.again",),
    ("batch.job.drive",),
    ("batch.job.outcome",),
    (
        "serve.__init__",
        "serve.auth",
        "serve.bodies",
        "serve.boundary",
        "serve.client",
        "serve.draining",
        "serve.envelope",
        "serve.fields",
        "serve.toolarge",
    ),
    ("serve.calls", "serve.open_requests", "serve.stdio"),
    ("serve.completion", "serve.prompts", "serve.resources"),
    ("serve.mcp",),
    ("serve.exchange", "serve.http"),
    ("serve.rest",),
    ("cli.flags", "cli.startup"),
    ("cli.display", "cli.job_input", "cli.key", "cli.out"),
    ("cli.run_words",),
    ("cli.demo", "cli.export", "cli.inspect", "cli.install", "cli.jobs", "cli.language", "cli.run", "cli.serve"),
    ("cli.doctor",),
    ("cli.__init__",),
    ("__main__",),
)
LEVEL = {module: level for level, row in enumerate(LAYERS) for module in row}

# One door per outside thing: the package, and the modules (or the folders, ending in a dot) that may import it.
DOORS = {
    "yaml": ("capability.source",),
    "tomlkit": ("hosts.toml",),
    "ruamel": ("hosts.yaml",),
    "httpx": (),
    "httpx2": ("upstream",),
    "requests": (),
    "mcp": ("serve.",),
    "mcp_types": ("serve.",),
    "starlette": ("serve.", "sandbox."),
    "uvicorn": ("serve.", "sandbox."),
    "click": ("cli.",),
    "rich": ("cli.",),
}

# Start-up and the middle: no I/O and no event loop, so that all of it can be tested as plain functions.
PURE = {
    "plan",
    "compile",
    "narrow",
    "hosts.jsonc",
    "hosts.launch",
    "hosts.snippets",
    "uri",
    "explain",
    "routes",
    "incoming",
    "openapi",
    "batch.links",
    "batch.facts",
    "batch.headers",
    "batch.tokens",
    "batch.requests.demand",
    "batch.requests.problems",
    "batch.requests.scan",
    "batch.requests.shape",
    "batch.create.entry",
    "batch.create.evidence",
    "batch.create.refusals",
    "batch.create.retryable",
    "batch.results.rows",
    "batch.results.view",
    "batch.job.steps",
    "request",
    "result",
    "failure",
    "arguments",
    "recent",
    "redact",
    "errors",
    "capability.diagnostics",
    "capability.model.declare",
    "capability.model.authentication",
    "capability.model.consumed",
    "capability.model.exposed",
    "capability.model.document",
    "capability.load",
    "capability.link",
    "capability.scope",
    "capability.upstreams",
    "capability.credentials",
    "capability.bodies",
    "capability.resources",
    "capability.prompts",
    "capability.targets",
    "capability.tools",
    "capability.rest",
    "capability.calls",
    "capability.bindings",
    "capability.variables",
    "capability.expressions",
    "capability.verify",
    "capability.schema",
    "capability.parts",
    "capability.baseuri",
    "capability.environment",
    "capability.route",
    "capability.forwards",
}
IO_MODULES = {
    "anyio", "asyncio", "http.client", "io", "os", "pathlib", "random", "selectors", "shutil", "signal", "socket",
    "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib.request",
}  # fmt: skip

# Names, paths and headers of the API belong into the capability file.
API_WORDS = ("anthropic-", "message-batch", "/messages/batches", "x-api-key", "msgbatch_")


@dataclass(frozen=True)
class Module:
    """A module of ours: its name below the package, and its syntax tree."""

    name: str
    tree: ast.Module

    @property
    def in_sandbox(self) -> bool:
        return self.name.startswith("sandbox.")

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every module imported at run time, in full, with its line; names under TYPE_CHECKING are none."""
        for node in _nodes(self.tree):
            match node:
                case ast.Import(names=names):
                    yield from ((alias.name, node.lineno) for alias in names)
                case ast.ImportFrom(module=module, names=names, level=level):
                    assert level == 0, f"{self.name}:{node.lineno}: imports are written in full"
                    for alias in names:
                        yield f"{module}.{alias.name}", node.lineno
                case _:
                    pass

    def ours(self) -> Iterator[tuple[str, int]]:
        """The modules of ours that it imports, by their names below the package."""
        for name, line in self.imports():
            if name == OURS or name.startswith(f"{OURS}."):
                yield _known(name.removeprefix(OURS).removeprefix(".")), line


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _nodes(child)


def _known(name: str) -> str:
    """`a.b.function` -> the module `a.b`: the longest beginning that is a module."""
    parts = name.split(".") if name else []
    for end in range(len(parts), -1, -1):
        for module in (".".join(parts[:end]), ".".join([*parts[:end], "__init__"])):
            if (SOURCE / f"{module.replace('.', '/')}.py").exists():
                return module
    raise AssertionError(f"{OURS}.{name} is no module")


def _modules() -> list[Module]:
    return [
        Module(".".join(path.relative_to(SOURCE).with_suffix("").parts), ast.parse(path.read_text("utf-8")))
        for path in sorted(SOURCE.rglob("*.py"))
    ]


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or (place.endswith(".") and name.startswith(place)) for place in places)


def _belongs(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


# The rules: each yields the lines that break it


def imports_go_down(module: Module) -> Iterator[str]:
    if module.in_sandbox:
        return
    if module.name not in LEVEL:
        yield f"{module.name}: has no place in LAYERS"
        return
    for name, line in module.ours():
        if not name.startswith("sandbox.") and LEVEL.get(name, len(LAYERS)) >= LEVEL[module.name]:
            yield f"{module.name}:{line}: imports {name}, which is not below it"


def the_sandbox_is_an_island(module: Module) -> Iterator[str]:
    for name, line in module.ours():
        if module.in_sandbox and not name.startswith("sandbox."):
            yield f"{module.name}:{line}: the sandbox imports {name}"
        if name.startswith("sandbox.") and not module.in_sandbox and not module.name.startswith("cli."):
            yield f"{module.name}:{line}: imports the sandbox"


def hosts_are_the_command_lines_alone(module: Module) -> Iterator[str]:
    allowed = ("__init__", "errors", "settings", "redact", "hosts.")
    for name, line in module.ours():
        if module.name.startswith("hosts.") and not _within(name, allowed):
            yield f"{module.name}:{line}: imports {name}, which is no business of hosts"
        if name.startswith("hosts.") and not module.name.startswith(("hosts.", "cli.")):
            yield f"{module.name}:{line}: imports {name}, which would slow the start of a server"


def one_door_per_outside_thing(module: Module) -> Iterator[str]:
    for name, line in module.imports():
        for package, doors in DOORS.items():
            if _belongs(name, package) and not _within(module.name, doors):
                yield f"{module.name}:{line}: imports {package}"


def the_environment_is_read_in_settings(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(attr="environ" | "environb" | "getenv", lineno=line) if module.name != "settings":
                yield f"{module.name}:{line}: looks at the environment"
            case ast.ImportFrom(module="os", names=names, lineno=line):
                if {alias.name for alias in names} & {"environ", "environb", "getenv"} and module.name != "settings":
                    yield f"{module.name}:{line}: looks at the environment"
            case _:
                pass


def the_middle_is_pure(module: Module) -> Iterator[str]:
    if module.name not in PURE:
        return
    for name, line in module.imports():
        if any(_belongs(name, package) for package in IO_MODULES):
            yield f"{module.name}:{line}: imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor):
            yield f"{module.name}:{node.lineno}: needs an event loop"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "input"}:
            yield f"{module.name}:{node.lineno}: calls {node.func.id}()"


def the_api_stands_in_the_capability_file(module: Module) -> Iterator[str]:
    if module.in_sandbox or module.name.startswith("batch."):
        return
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            for word in API_WORDS:
                if word in node.value.lower():
                    yield f"{module.name}:{node.lineno}: {word!r} in {node.value[:60]!r}"


def nothing_prints(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.name}:{node.lineno}: print() could write into the protocol's stream"


RULES: tuple[Callable[[Module], Iterator[str]], ...] = (
    imports_go_down,
    the_sandbox_is_an_island,
    hosts_are_the_command_lines_alone,
    one_door_per_outside_thing,
    the_environment_is_read_in_settings,
    the_middle_is_pure,
    the_api_stands_in_the_capability_file,
    nothing_prints,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps(rule: Callable[[Module], Iterator[str]]) -> None:
    broken = [line for module in _modules() for line in rule(module)]
    assert not broken, "\n".join(broken)


def test_the_tables_name_modules_that_exist() -> None:
    names = {module.name for module in _modules()}
    assert names >= LEVEL.keys()
    assert names >= PURE


@pytest.mark.parametrize(
    ("rule", "name", "code"),
    [
        (imports_go_down, "plan", "from batches_mcp import request"),
        (imports_go_down, "capability.load", "from batches_mcp.capability.link import link"),
        (imports_go_down, "serve.auth", "def f():\n    import batches_mcp.serve.mcp"),
        (imports_go_down, "redact", "from batches_mcp.plan import Template"),
        (imports_go_down, "unheard_of", "import json"),
        (the_sandbox_is_an_island, "sandbox.app", "from batches_mcp.redact import excerpt"),
        (the_sandbox_is_an_island, "serve.http", "from batches_mcp.sandbox import running_sandbox"),
        (hosts_are_the_command_lines_alone, "serve.mcp", "def f():\n    import batches_mcp.hosts.table"),
        (hosts_are_the_command_lines_alone, "hosts.probe", "from batches_mcp.upstream import Upstream"),
        (one_door_per_outside_thing, "capability.load", "import yaml"),
        (one_door_per_outside_thing, "serve.mcp", "from httpx2 import AsyncClient"),
        (one_door_per_outside_thing, "sandbox.app", "import httpx2"),
        (one_door_per_outside_thing, "cli.serve", "def f():\n    from mcp.types import Tool"),
        (one_door_per_outside_thing, "serve.http", "import click"),
        (the_environment_is_read_in_settings, "cli.startup", "import os\nos.environ.get('X')"),
        (the_environment_is_read_in_settings, "upstream", "from os import getenv"),
        (the_environment_is_read_in_settings, "sandbox.app", "import os\nos.getenv('X')"),
        (the_middle_is_pure, "request", "import anyio"),
        (the_middle_is_pure, "capability.link", "from pathlib import Path"),
        (the_middle_is_pure, "result", "async def f() -> None: ..."),
        (the_middle_is_pure, "compile", "open('x')"),
        (the_api_stands_in_the_capability_file, "request", "HEADER = 'x-api-key'"),
        (the_api_stands_in_the_capability_file, "cli.demo", "f'anthropic-{1}-message-batch'"),
        (the_api_stands_in_the_capability_file, "upstream", "def f():\n    'Docs.'\n    return '/v1/messages/batches'"),
        (nothing_prints, "serve.mcp", "print('x')"),
    ],
)
def test_a_rule_notices(rule: Callable[[Module], Iterator[str]], name: str, code: str) -> None:
    assert list(rule(Module(name, ast.parse(code))))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_lets_pass_what_is_allowed(rule: Callable[[Module], Iterator[str]]) -> None:
    code = '''
        """Reads the header x-api-key of /messages/batches."""
        from typing import TYPE_CHECKING
        from batches_mcp.plan import ToolPlan  # msgbatch_
        if TYPE_CHECKING:
            from batches_mcp.serve.mcp import Calls
            import yaml
    '''
    assert list(rule(Module("request", ast.parse(dedent(code))))) == []
