"""From settings to something that can be served: read, compile, narrow, and bring the secrets in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from pydantic import SecretStr

from batches_mcp.core.errors import CallError, UsageError
from batches_mcp.core.limits import LIMITS, Limits
from batches_mcp.core.logs import LogFormat, configure, written_as_json
from batches_mcp.core.plan import BehaviorName, RequestPlan, credential_templates
from batches_mcp.core.redact import Redactor, printable
from batches_mcp.core.server_plan import RestPlan, ServerPlan
from batches_mcp.core.settings import (
    DATABASE_URL,
    TOKEN,
    Admission,
    BatchSettings,
    Environment,
    UpstreamSettings,
    file_roots,
    packaged,
    user_state_folder,
)
from batches_mcp.core.state import StateFolder
from batches_mcp.core.variables import Variables

if TYPE_CHECKING:
    from mcp.server.context import ServerMiddleware
    from mcp.server.lowlevel import Server

    from batches_mcp.access.teams import Teams
    from batches_mcp.core.observe import Observer
    from batches_mcp.exchange.upstream import Clock, Upstream
    from batches_mcp.sandbox.config import SandboxOptions
    from batches_mcp.serve.callers import Callers, Guard
    from batches_mcp.serve.draining import Draining
    from batches_mcp.store.state import State
    from batches_mcp.tools.behaviors import Behavior

_SANDBOX_KEY = "sandbox-key"
_IN_SANDBOX = "Requests go to a sandbox, whose answers are made up: nothing is sent to Anthropic, and nothing is spent."


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything a server needs."""

    plan: ServerPlan
    behaviors: Mapping[str, Behavior]
    variables: Mapping[str, SecretStr]
    redactor: Redactor
    state: State
    batch: BatchSettings = BatchSettings()
    rest: RestPlan | None = None
    limits: Limits = LIMITS
    clock: Clock | None = None
    observers: tuple[Observer, ...] = ()
    middleware: tuple[ServerMiddleware[Any], ...] = ()

    def upstream(self) -> Upstream:
        """The way to the upstream, not entered yet."""
        from batches_mcp.exchange.upstream import Upstream

        return Upstream(self.limits, self.clock, self.observers)

    def admission(self) -> Admission | None:
        """What the capability asks of callers over HTTP; None when it asks nothing.

        Raises:
            UsageError: a variable that it takes from the environment is not set, and so nobody could be let in.
        """
        if self.plan.inbound is None:
            return None
        needed = {name for each in credential_templates(self.plan.inbound) for name in each.variables}
        if missing := sorted(needed - self.variables.keys()):
            raise UsageError(
                f"the capability asks callers over HTTP for a credential, and {' and '.join(missing)} is not set; "
                f"set it, or {TOKEN}, which is asked for in its place"
            )
        from batches_mcp.exchange.request import credential_header

        try:
            header, value = credential_header(self.plan.inbound, self.variables)
        except CallError as error:
            raise UsageError(f"callers over HTTP: {error.report.message}") from error
        scheme, space, rest = value.partition(" ")
        if header == "Authorization" and space:
            return Admission(header, SecretStr(rest), scheme)
        return Admission(header, SecretStr(value))

    def server(
        self,
        draining: Draining | None = None,
        opened: Callable[[Callers], object] = lambda _: None,
        guard: Guard | None = None,
    ) -> Server[Any]:
        """The MCP server; importing what it is made of takes most of the start."""
        from batches_mcp.serve.mcp import build_server

        return build_server(
            self.plan,
            self.behaviors,
            self.variables,
            self.redactor,
            self.state,
            self.upstream(),
            ledger=self.batch.ledger,
            account=self.batch.account,
            draining=draining,
            opened=opened,
            guard=guard,
            middleware=self.middleware,
        )


def say(text: str) -> None:
    """A line for the person who started the program; standard output is not ours to write to."""
    if not written_as_json(text):
        click.echo(f"batches-mcp: {printable(text)}", err=True)


@contextmanager
def ready(
    settings: UpstreamSettings,
    environment: Environment,
    log_level: str = "warning",
    batch: BatchSettings | None = None,
    default_root: Path | None = None,
    *,
    with_rest: bool = False,
    sandbox: SandboxOptions | None = None,
    teams: Teams | None = None,
    log_format: LogFormat = "text",
) -> Iterator[Ready]:
    """Compile the capability file that the settings name; an embedded sandbox lives as long as the context.

    File arguments may read in `default_root` when no other folder is given; `with_rest` compiles the REST adapter too;
    `sandbox` says how an embedded one behaves. `teams` are those that are served.

    Raises:
        UsageError: settings that contradict each other or the file.
        UnreadableFile, CapabilityError: the file cannot be read, or has errors.
    """
    # What only shows its help pays for none of these.
    from batches_mcp import language
    from batches_mcp.language.compile import compile_server
    from batches_mcp.language.defaults import known_origins
    from batches_mcp.language.offer import Choice, offer
    from batches_mcp.language.origins import origin_of
    from batches_mcp.tools.behaviors import behaviors, contributions

    with ExitStack() as stack:
        base_url = settings.base_url
        if settings.sandbox:
            if base_url:
                raise UsageError("--sandbox and --base-url both say where requests go; use one of them")
            base_url = stack.enter_context(_sandbox(sandbox or {}))
        path = settings.capability or packaged("capability.yaml")
        linked = language.read(path, trusted=settings.capability is None)
        given = batch or BatchSettings()
        roots = file_roots(given.roots, default_root)
        table = behaviors(replace(given, roots=roots, sandbox=settings.sandbox))
        plan = compile_server(linked, base_url, environment.filled(), contributions(table))
        said = [plan.instructions]
        if any(tool.behavior is BehaviorName.SUBMIT for tool in plan.tools):
            said.append(_readable(roots))
        if settings.sandbox:
            said.append(_IN_SANDBOX)
        plan = replace(plan, instructions="\n\n".join(filter(None, said)))
        rest = None
        if with_rest:
            from batches_mcp.language.routes import compile_rest

            rest = compile_rest(linked, base_url, environment.filled())
        if not linked.tools and rest is None:
            raise UsageError("nothing of the capability file is served over MCP; add --transport http --rest for REST")
        calls = [*plan.calls, *(route.tool for route in (rest.routes if rest else ()))]
        cap = "--max-cost-usd" if given.max_cost_usd is not None else "cap_usd" if teams and teams.capped else None
        priced = None if cap is None else table.keys()
        served = offer(plan, rest, Choice(settings.read_only, settings.tools, settings.exclude, priced))
        for name in served.unbounded:
            say(f"{cap}: {name} is left out, because nothing is known of what it spends")
        plan, rest = served.server, served.rest
        plan = replace(
            plan,
            secrets=plan.secrets
            | {name for call in calls for value in call.request.credential_templates() for name in value.variables},
        )
        variables = Variables({**environment.bound(plan.bound), **linked.values}, environment.placeholders(plan.bound))
        if settings.sandbox:
            # The sandbox takes any key, and a real one has no business there.
            variables.update((name, SecretStr(_SANDBOX_KEY)) for name in plan.secrets)
        token = environment.secret(TOKEN)
        secrets = [variables[name] for name in plan.secrets if name in variables]
        secrets += [*([token] if token else []), *(teams.api_keys if teams else ())]
        database_url = given.database_url or environment.secret(DATABASE_URL)
        secrets += _secrets_of(database_url)
        if any(name.startswith("OTEL_") for name in environment.values):
            from batches_mcp.core import telemetry

            secrets += map(SecretStr, telemetry.secrets_of(environment.values))
        redactor = Redactor.of(secret.get_secret_value() for secret in secrets)
        configure(log_level, redactor, log_format)
        for uri in {_shown_base(call.request, variables) for call in calls}:
            if origin_of(uri) not in known_origins() and not settings.sandbox:
                say(f"requests go to {origin_of(uri)}")
        state_dir = given.state_dir
        if state_dir is None and settings.sandbox:
            state_dir = Path(stack.enter_context(TemporaryDirectory(prefix="batches-mcp-", ignore_cleanup_errors=True)))
        folder = StateFolder(state_dir or user_state_folder())
        if folder.others_may_write:
            say(f"others may write to the state folder {folder.path}; run: chmod go-w {folder.path}")
        state = _state(folder, database_url, given)
        stack.callback(state.close)
        limits, clock = click.get_current_context().obj or (LIMITS, None)
        yield Ready(plan, table, variables, redactor, state, given, rest, limits, clock)


def _secrets_of(database_url: SecretStr | None) -> list[SecretStr]:
    """What must not be shown of the URL of a database.

    Raises:
        UsageError: it cannot be read, or what it needs is not installed.
    """
    if database_url is None:
        return []
    with installed("--database-url", "team"):
        from batches_mcp.store.postgres import secrets_of
    return list(map(SecretStr, secrets_of(database_url.get_secret_value())))


def _state(folder: StateFolder, database_url: SecretStr | None, given: BatchSettings) -> State:
    """The state that the settings name.

    Raises:
        UsageError: settings that contradict each other.
        StateUnusable: a database or an object store cannot be used.
    """
    if database_url is None and given.object_store is None:
        from batches_mcp.store.folders import FolderState

        return FolderState(folder)
    if database_url is None or given.object_store is None:
        missing, other = ("--database-url", "--object-store")[:: 1 if database_url is None else -1]
        raise UsageError(f"{other} shares the state with other servers, which needs {missing} as well")
    if not given.ledger:
        raise UsageError("--database-url is for the ledger; leave --no-ledger out")
    with installed("--database-url", "team"):
        from batches_mcp.store.shared import open_shared
    return open_shared(folder, database_url.get_secret_value(), given.object_store)


@contextmanager
def installed(what: str, extra: str) -> Iterator[None]:
    """Around imports of what only an extra brings, and `what` needs.

    Raises:
        UsageError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        advice = f'pip install "batches-mcp[{extra}]"'
        raise UsageError(f"{what} needs packages that are not installed ({error}); {advice}") from error


def _readable(roots: Sequence[Path]) -> str:
    """Which files a create may name, for the model."""
    if not roots:
        return "Files: this server reads none, because it was started without --root DIR."
    return f"Files: arguments may name files in {', '.join(map(str, roots))}."


def _shown_base(plan: RequestPlan, variables: Mapping[str, SecretStr]) -> str:
    """Where requests go, with variables in it as long as they have no value."""
    from batches_mcp.exchange.variables import base_url

    try:
        return base_url(plan, variables)
    except CallError:
        return plan.base_uri


@contextmanager
def _sandbox(options: SandboxOptions) -> Iterator[str]:
    from batches_mcp.sandbox import running_sandbox  # only who asks for a sandbox pays for it

    with running_sandbox(**options) as sandbox:
        say(f"requests go to the sandbox at {sandbox.url}")
        yield sandbox.url
