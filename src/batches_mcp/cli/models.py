"""`models`: what is known here of Claude models, and what a batch of requests to each costs."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from batches_mcp.cli.flags import flag
from batches_mcp.cli.startup import say

_MILLION = 1_000_000


@click.command
@flag("--json", "as_json", is_flag=True, help="Print a JSON array.")
def models(*, as_json: bool) -> None:
    """List the models known here, cheapest first: USD per million tokens in a batch, in and out, and the most output.

    Prices are those of the installed price table; nothing is asked over the network. A model that is not listed can
    still be used, but its cost is not estimated.
    """
    from batches_mcp.requests.cost import price_table

    rows = _rows()
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from batches_mcp.cli.display import console, show_table

    lines = [
        [
            row["model"],
            _usd(row["input_usd_per_million_tokens"]),
            _usd(row["output_usd_per_million_tokens"]),
            f"{row['max_output_tokens']:,}",
        ]
        for row in rows
    ]
    show_table(console(error=False), ("model", "USD in", "USD out", "most output tokens"), lines)
    say(f"USD per million tokens in a batch, half the standard price; {price_table()}")


def _rows() -> list[dict[str, Any]]:
    """The models with their prices, None where that is not known; the cheapest first."""
    from batches_mcp.requests.cost import BATCH_SHARE, prices_of
    from batches_mcp.requests.models import MAX_TOKENS
    from batches_mcp.requests.tokens import Tariff

    rows = []
    for model, most_tokens in MAX_TOKENS.items():
        prices = prices_of(Tariff(model))
        rows.append(
            {
                "model": model,
                "input_usd_per_million_tokens": prices and float(prices.input * BATCH_SHARE * _MILLION),
                "output_usd_per_million_tokens": prices and float(prices.output * BATCH_SHARE * _MILLION),
                "max_output_tokens": most_tokens,
            }
        )
    return sorted(rows, key=_price)


def _price(row: dict[str, Any]) -> tuple[float, float, str]:
    given, got = row["input_usd_per_million_tokens"], row["output_usd_per_million_tokens"]
    return (math.inf, math.inf, row["model"]) if given is None else (got, given, row["model"])


def _usd(amount: float | None) -> str:
    from batches_mcp.requests.cost import dollars

    return "unknown" if amount is None else dollars(amount)
