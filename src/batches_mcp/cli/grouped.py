"""A command whose --help shows its flags in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class GroupedCommand(click.Command):
    """`groups` names the flags of each group, in the order of the help; flags in none of them are taken, and not shown.

    They mean nothing to the command, or only narrow what a server offers, and may stand in the environment for that.
    What flags are called there, the text of the command says once.
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._groups = groups
        shown = {name for names in groups.values() for name in names}
        for parameter in self.params:
            if isinstance(parameter, click.Option):
                parameter.hidden = parameter.opts[0] not in shown
                parameter.show_envvar = False

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        flags = {each.opts[0]: each for each in self.get_params(ctx) if isinstance(each, click.Option)}
        for group, names in self._groups.items():
            records = [flags[name].get_help_record(ctx) for name in names]
            with formatter.section(group):
                formatter.write_dl([record for record in records if record is not None], col_max=26)
