"""Our entry in the files of hosts: planned, written, proved, and removed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from batches_mcp.cli.completion import tool_names
from batches_mcp.cli.startup import say
from batches_mcp.hosts import changes, claude, documents, files
from batches_mcp.hosts.changes import Backups, Change
from batches_mcp.hosts.documents import CannotEdit
from batches_mcp.hosts.launch import Launch, launch_of
from batches_mcp.hosts.machine import Machine
from batches_mcp.hosts.probe import HOSTS_WAIT_S, NoServer, Proof, prove
from batches_mcp.hosts.snippets import snippet
from batches_mcp.hosts.table import Host

_CLAUDE_CODE = "claude-code"


@dataclass(slots=True)
class Session:
    """One run of the command: the machine, the entry to write, and what was proved so far, by command."""

    machine: Machine
    launch: Launch
    name: str
    project: bool
    backups: Backups
    proofs: dict[tuple[str, ...], Proof | NoServer] = field(default_factory=dict)

    def plan(self, host: Host) -> Change:
        """What would change in the host's file.

        Raises:
            CannotEdit: it cannot be edited, or the host has no such file.
        """
        return changes.plan(host, self.file(host), self.name, self.launch)

    def plan_removal(self, host: Host) -> Change | None:
        return changes.plan_removal(host, self.file(host), self.name)

    def file(self, host: Host) -> Path:
        path = host.file(self.machine, project=self.project)
        if path is None:
            raise CannotEdit("it has no file for projects")
        return path

    def claude(self, host: Host) -> str | None:
        """Claude Code's own program, where it is to write the entry."""
        return self.machine.program("claude") if host.id == _CLAUDE_CODE and not self.project else None


def planned(session: Session, chosen: Sequence[Host]) -> tuple[list[Change], bool]:
    """What to change, and whether something cannot be; what to paste is then printed."""
    found: list[Change] = []
    failed = False
    longest = max(tool_names(), key=len)
    for host in chosen:
        full = len(host.prefix.format(name=session.name) + longest)
        try:
            if full > host.name_limit:
                raise CannotEdit(f"its names of tools have at most {host.name_limit} characters; give a shorter --name")
            if not host.installed:
                raise CannotEdit("its file is not edited by this command")
            found.append(session.plan(host))
        except CannotEdit as error:
            failed = True
            say(f"{host.title}: left as it is: {error}")
            print_snippet(host, session.machine, session.name, session.launch)
    return found, failed


def carried_out(session: Session, change: Change) -> bool:
    host = change.host
    try:
        if not change.empty:
            program = session.claude(host)
            if program:
                claude.add(program, change, session.machine.values)
            else:
                change = session.backups.apply(change, lambda: session.plan(host))
        text, works = _proved(session, change)
    except CannotEdit as error:
        say(f"{host.title}: left as it is: {error}")
        print_snippet(host, session.machine, session.name, session.launch)
        return False
    click.echo(f"{host.title}: {text}")
    return works


def _proved(session: Session, change: Change) -> tuple[str, bool]:
    """How the command that the file now holds starts, in words, and whether it works."""
    data = documents.parse(files.read(change.path), change.host.form)
    launch = launch_of(documents.entry_at(data, change.host.path(change.name)))
    if launch is None:
        raise CannotEdit("the file does not hold what was written")
    words = (launch.command, *launch.args, *(f"{name}={value}" for name, value in sorted(launch.env.items())))
    if words not in session.proofs:
        try:
            session.proofs[words] = prove(launch, session.machine.bare(launch.env))
        except NoServer as error:
            session.proofs[words] = error
    return described(session.proofs[words], change.host)


def described(proof: Proof | NoServer, host: Host) -> tuple[str, bool]:
    """A proof in words, and whether the server works."""
    if isinstance(proof, NoServer):
        return f"written, but the server does not work: {proof}", False
    facts = [f"works, {len(proof.tools)} tools, {proof.first_answer_s:.1f} s"]
    if proof.key_missing:
        facts.append("no API key yet (run: batches-mcp key set)")
    elif proof.call_error:
        facts.append(f"a free call failed: {proof.call_error}")
    if proof.first_answer_s > HOSTS_WAIT_S:
        facts.append(f"slow: some hosts wait only {HOSTS_WAIT_S} s")
    return f"{', '.join(facts)}; {host.after}", not proof.call_error or proof.key_missing


def removed(session: Session, change: Change) -> bool:
    try:
        program = session.claude(change.host)
        if program:
            claude.remove(program, change.name, session.machine.values)
            restored = False
        else:
            restored = session.backups.undo(change, lambda: session.plan_removal(change.host))
    except CannotEdit as error:
        say(f"{change.host.title}: left as it is: {error}")
        return False
    click.echo(f"{change.host.title}: {'as it was before' if restored else 'entry removed'}; {change.host.after}")
    return True


def print_snippet(host: Host, machine: Machine, name: str, launch: Launch) -> None:
    """What to paste, where, and the link that does it."""
    places = [str(host.file(machine, project=False)), *([host.project] if host.project else [])]
    click.echo(f"{host.title} ({host.id}): {' or '.join(places)}\n{snippet(host, name, launch)}")
    if host.link:
        click.echo(host.link(name, launch))
    click.echo()
