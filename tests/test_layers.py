"""The cut of the program, held by its imports: who may use which outside thing, and that imports only go down."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "batches_mcp"
OURS = "batches_mcp"

# The table of contents, from the bottom up: a package imports from itself and from those below it.
PACKAGES: tuple[tuple[str, ...], ...] = (
    ("core",),  # errors, settings, plans, texts that are safe to show
    ("language",),  # a capability file becomes plans
    ("exchange",),  # a plan and arguments become a request, an answer becomes a result: the only door to the network
    ("access",),  # who calls a service, for which team, and what that allows
    ("requests",),  # requests in bulk, read, checked, counted and cut into batches
    ("api",),  # batches as the Message Batches API has them
    ("store",),  # what is kept on disk: ledger, kept requests, spooled results
    ("work",),  # the account: creates sent once, results fetched once, rows sent again
    ("tools",),  # what each behaviour answers
    ("job", "serve", "cluster"),  # a whole job from a shell; a server; jobs that several machines work on
    ("cli",),  # commands
)
LEVEL = {package: level for level, row in enumerate(PACKAGES) for package in row}
# Beside the layers: each has a rule of its own. The version is everybody's.
APART = {"hosts", "sandbox", "__init__", "__main__"}

# One door per outside thing: the package, and the modules (or the folders, ending in a dot) that may import it.
DOORS = {
    "yaml": ("language.source",),
    "tomlkit": ("hosts.toml",),
    "ruamel": ("hosts.yaml",),
    "httpx": (),
    "httpx2": ("exchange.transfer", "exchange.transport", "exchange.upstream"),
    "requests": (),
    "mcp": ("serve.",),
    "mcp_types": ("serve.",),
    "jwt": ("access.tokens",),
    "starlette": ("serve.", "sandbox."),
    "uvicorn": ("serve.", "sandbox."),
    "h11": ("serve.connections",),
    "prometheus_client": ("serve.metrics",),
    "opentelemetry": ("serve.telemetry",),
    "click": ("cli.",),
    "rich": ("cli.",),
    "psycopg": ("store.postgres",),
    "obstore": ("store.objects",),
    "duckdb": ("cluster.database",),
    "procrastinate": ("cluster.engine",),
}

# Start-up and the middle, with all that they import: no I/O and no event loop, so that they can be tested as plain
# functions. Whole packages end in a dot; what comes after a minus is what of them is not pure.
PURE = (
    "core.context", "core.diagnostics", "core.errors", "core.limits", "core.plan", "core.redact", "core.server_plan", "core.text",
    "core.variables",
    "language.", "-language.__init__", "-language.defaults", "-language.local", "-language.source",
    "exchange.arguments", "exchange.coercion", "exchange.failure", "exchange.recent", "exchange.request", "exchange.result", "exchange.variables",
    "access.allowance", "access.keys", "access.principal", "access.teams",
    "requests.checks", "requests.cost", "requests.demand", "requests.kinds", "requests.known", "requests.models",
    "requests.parts", "requests.problems", "requests.scan", "requests.shape", "requests.template", "requests.tokens",
    "store.causes", "store.claim_rules", "store.entry", "store.job", "store.rows",
    "api.batch", "api.ended", "api.headers", "api.links", "api.operations", "api.outcomes",
    "work.evidence", "work.refusals", "work.retryable",
    "tools.about", "tools.asked", "tools.cursor", "tools.page", "tools.totals", "tools.view",
    "job.steps",
    "cluster.steps",
    "serve.incoming", "serve.minify", "serve.openapi",
    "cli.ocsf",
    "hosts.jsonc", "hosts.launch",
)  # fmt: skip
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
    def package(self) -> str:
        return self.name.partition(".")[0]

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


@cache
def _known(name: str) -> str:
    """`a.b.function` -> the module `a.b`: the longest beginning that is a module."""
    parts = name.split(".") if name else []
    for end in range(len(parts), -1, -1):
        for module in (".".join(parts[:end]), ".".join([*parts[:end], "__init__"])):
            if (SOURCE / f"{module.replace('.', '/')}.py").exists():
                return module
    raise AssertionError(f"{OURS}.{name} is no module")


def _modules() -> list[Module]:
    names = [".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in sorted(SOURCE.rglob("*.py"))]
    return [Module(name, _tree(name)) for name in names]


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or (place.endswith(".") and name.startswith(place)) for place in places)


def _belongs(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _is_pure(name: str) -> bool:
    return _within(name, PURE) and f"-{name}" not in PURE


def _is_empty(name: str) -> bool:
    """Whether a module holds nothing but its docstring."""
    return len(_tree(name).body) <= 1


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((SOURCE / f"{name.replace('.', '/')}.py").read_text("utf-8"))


@cache
def _needs(name: str) -> frozenset[str]:
    """Every module of ours that a module imports, and all that those import."""
    found, ahead = set[str](), [name]
    while ahead:
        fresh = _direct(ahead.pop()) - found
        found |= fresh
        ahead += fresh
    return frozenset(found)


@cache
def _direct(name: str) -> frozenset[str]:
    return frozenset(each for each, _ in Module(name, _tree(name)).ours())


# The rules: each yields the lines that break it


def imports_go_down(module: Module) -> Iterator[str]:
    if module.package in APART:
        return
    if module.package not in LEVEL:
        yield f"{module.name}: its package has no place in PACKAGES"
        return
    for name, line in module.ours():
        package = name.partition(".")[0]
        if package == module.package or package in APART:
            continue
        if LEVEL.get(package, len(PACKAGES)) >= LEVEL[module.package]:
            yield f"{module.name}:{line}: imports {name}, which is not below it"


def no_module_needs_itself(module: Module) -> Iterator[str]:
    for name, line in module.ours():
        if module.name in _needs(name):
            yield f"{module.name}:{line}: imports {name}, which needs {module.name}"


def the_sandbox_is_an_island(module: Module) -> Iterator[str]:
    for name, line in module.ours():
        if module.in_sandbox and not name.startswith("sandbox."):
            yield f"{module.name}:{line}: the sandbox imports {name}"
        if name.startswith("sandbox.") and not module.in_sandbox and not module.name.startswith("cli."):
            yield f"{module.name}:{line}: imports the sandbox"


def hosts_are_the_command_lines_alone(module: Module) -> Iterator[str]:
    allowed = ("__init__", "core.", "hosts.")
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
            case ast.Attribute(attr="environ" | "environb" | "getenv", lineno=line) if module.name != "core.settings":
                yield f"{module.name}:{line}: looks at the environment"
            case ast.ImportFrom(module="os", names=names, lineno=line):
                if {alias.name for alias in names} & {
                    "environ",
                    "environb",
                    "getenv",
                } and module.name != "core.settings":
                    yield f"{module.name}:{line}: looks at the environment"
            case _:
                pass


def the_middle_is_pure(module: Module) -> Iterator[str]:
    if not _is_pure(module.name):
        return
    for name, line in module.ours():
        if name != "__init__" and not _is_pure(name) and not _is_empty(name):
            yield f"{module.name}:{line}: imports {name}, which is not pure"
    for name, line in module.imports():
        if any(_belongs(name, package) for package in IO_MODULES):
            yield f"{module.name}:{line}: imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor):
            yield f"{module.name}:{node.lineno}: needs an event loop"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "input"}:
            yield f"{module.name}:{node.lineno}: calls {node.func.id}()"


def the_api_stands_in_the_capability_file(module: Module) -> Iterator[str]:
    if module.in_sandbox or module.package == "api":
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


def accounts_are_kept_by_the_store(module: Module) -> Iterator[str]:
    if module.package in {"core", "store"} or module.package in APART:
        return
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="folder"), args=[*_, _, _]):
                yield f"{module.name}:{node.lineno}: names what is in a folder of the state folder; see store.folders"
            case ast.Attribute(value=ast.Attribute(attr="state"), attr="path") if module.name != "api.identity":
                yield f"{module.name}:{node.lineno}: looks into the state folder; see store.folders"
            case _:
                pass


def nothing_prints(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"{module.name}:{node.lineno}: print() could write into the protocol's stream"


RULES: tuple[Callable[[Module], Iterator[str]], ...] = (
    imports_go_down,
    no_module_needs_itself,
    the_sandbox_is_an_island,
    hosts_are_the_command_lines_alone,
    one_door_per_outside_thing,
    the_environment_is_read_in_settings,
    the_middle_is_pure,
    the_api_stands_in_the_capability_file,
    accounts_are_kept_by_the_store,
    nothing_prints,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps(rule: Callable[[Module], Iterator[str]]) -> None:
    broken = [line for module in _modules() for line in rule(module)]
    assert not broken, "\n".join(broken)


def constants_changed(tree: ast.Module) -> Iterator[str]:
    """The lines of a test that change a constant of a module; `core.limits.Limits` has what tests may want other."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[_, ast.Constant(value=str(name)), _]):
                names = [name]
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[ast.Constant(value=str(name)), _]):
                names = [name]
            case ast.Assign(targets=targets):
                names = [target.attr for target in targets if isinstance(target, ast.Attribute)]
            case _:
                continue
        yield from (f"{node.lineno}: {name}" for name in names if name.rpartition(".")[2].isupper())


def test_no_test_changes_a_constant() -> None:
    code = "m.setattr(scan, '_MOST', 1)\nm.setattr('a.MOST', 1)\nscan._MOST = 1\nm.setattr(scan, 'most', 1)"
    assert sorted(constants_changed(ast.parse(code))) == ["1: _MOST", "2: a.MOST", "3: _MOST"]
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        assert not list(constants_changed(ast.parse(path.read_text("utf-8")))), path


def test_the_tables_name_modules_that_exist() -> None:
    names = {module.name for module in _modules()}
    packages = {module.package for module in _modules()}
    assert packages == LEVEL.keys() | APART
    for each in PURE:
        name = each.removeprefix("-")
        assert name in names or (name.endswith(".") and name.removesuffix(".") in packages), each


@pytest.mark.parametrize(
    ("rule", "name", "code"),
    [
        (imports_go_down, "core.plan", "from batches_mcp.exchange import request"),
        (imports_go_down, "language.load", "from batches_mcp.work.send import submit"),
        (imports_go_down, "api.batch", "def f():\n    import batches_mcp.serve.mcp"),
        (imports_go_down, "serve.auth", "from batches_mcp.job.drive import Drive"),
        (imports_go_down, "unheard.of", "import json"),
        (no_module_needs_itself, "core.redact", "from batches_mcp.core.diagnostics import Mark"),
        (no_module_needs_itself, "language.load", "def f():\n    from batches_mcp.language import read"),
        (the_sandbox_is_an_island, "sandbox.app", "from batches_mcp.core.redact import excerpt"),
        (the_sandbox_is_an_island, "serve.http", "from batches_mcp.sandbox import running_sandbox"),
        (hosts_are_the_command_lines_alone, "serve.mcp", "def f():\n    import batches_mcp.hosts.table"),
        (hosts_are_the_command_lines_alone, "hosts.probe", "from batches_mcp.exchange.upstream import Upstream"),
        (one_door_per_outside_thing, "language.load", "import yaml"),
        (one_door_per_outside_thing, "serve.mcp", "from httpx2 import AsyncClient"),
        (one_door_per_outside_thing, "sandbox.app", "import httpx2"),
        (one_door_per_outside_thing, "cli.serve", "def f():\n    from mcp.types import Tool"),
        (one_door_per_outside_thing, "serve.http", "import click"),
        (the_environment_is_read_in_settings, "cli.startup", "import os\nos.environ.get('X')"),
        (the_environment_is_read_in_settings, "exchange.upstream", "from os import getenv"),
        (the_environment_is_read_in_settings, "sandbox.app", "import os\nos.getenv('X')"),
        (the_middle_is_pure, "exchange.request", "import anyio"),
        (the_middle_is_pure, "language.link", "from pathlib import Path"),
        (the_middle_is_pure, "language.link", "from batches_mcp.language.source import read"),
        (the_middle_is_pure, "exchange.result", "async def f() -> None: ..."),
        (the_middle_is_pure, "language.compile", "open('x')"),
        (the_api_stands_in_the_capability_file, "exchange.request", "HEADER = 'x-api-key'"),
        (the_api_stands_in_the_capability_file, "cli.demo", "f'anthropic-{1}-message-batch'"),
        (
            the_api_stands_in_the_capability_file,
            "exchange.upstream",
            "def f():\n    'Docs.'\n    return '/v1/messages/batches'",
        ),
        (accounts_are_kept_by_the_store, "work.download", "runtime.state.folder(account.name, 'spool')"),
        (accounts_are_kept_by_the_store, "cli.job_lookup", "prepared.state.path.glob('*/ledger.sqlite')"),
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
        from batches_mcp.core.plan import ToolPlan  # msgbatch_
        if TYPE_CHECKING:
            from batches_mcp.serve.mcp import Calls
            import yaml
    '''
    assert list(rule(Module("exchange.request", ast.parse(dedent(code))))) == []
