"""The status page: one page of HTML that reads well without JavaScript; a few lines of it refresh and press buttons."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files

from batches_mcp.sandbox.caller import shown
from batches_mcp.sandbox.faults import ENDPOINTS, FAULTS, Fault
from batches_mcp.sandbox.lifecycle import Status
from batches_mcp.sandbox.requestlog import RecordedRequest
from batches_mcp.sandbox.steering import Seen, Steering
from batches_mcp.sandbox.wire import BATCHES_PATH, timestamp

__all__ = ["PAGE_HEADERS", "render"]

_BATCHES = 50
_REQUESTS = 25
_TARGET_CHARS = 120

_FRAME = files(__package__).joinpath("page.html").read_text("utf-8")


def _source(element: str) -> str:
    """The hash by which a Content-Security-Policy lets the frame's own style or script pass, and no other."""
    found = re.search(rf"<{element}>(.*?)</{element}>", _FRAME, re.DOTALL)
    assert found is not None  # noqa: S101 - the frame is part of this package
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


PAGE_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        f"default-src 'none'; style-src {_source('style')}; script-src {_source('script')}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def render(steering: Steering, url: str) -> str:
    """The page as of now, of the sandbox at `url`."""
    content = "\n".join(
        (
            '<div class="pair">',
            _section("Clock", _clock(steering)),
            _section("Faults in the queue", _faults(steering.faults.pending()), _fault_form()),
            "</div>",
            _section("Batches", _batches(steering.batches(_BATCHES), steering.total(), url)),
            _section("Latest requests", _requests(steering.log.entries()[: -_REQUESTS - 1 : -1])),
        )
    )
    return _FRAME.replace("@@content@@", content)


def _section(title: str, changing: str, fixed: str = "") -> str:
    """A part of the page; what is `fixed` keeps what was typed into it when the page refreshes."""
    name = title.lower().replace(" ", "-")
    return f'<section><h2>{title}</h2><div id="{name}">{changing}</div>{fixed}</section>'


def _clock(steering: Steering) -> str:
    frozen = steering.clock.frozen
    steps = (("+10 s", 10), ("+1 min", 60), ("+1 h", 3_600), ("+24 h", 86_400), ("+29 d", 29 * 86_400))
    buttons = [_button(label, "clock/advance", {"seconds": seconds}) for label, seconds in steps]
    buttons.append(_button("Reset everything", "reset"))
    buttons.append(_button("Run", "clock/unfreeze") if frozen else _button("Freeze", "clock/freeze"))
    now = steering.clock.now().strftime("%Y-%m-%d %H:%M:%S")
    state = "stands still" if frozen else "runs"
    shown_now = f'<p class="now">{now} <span class="soft">UTC, {state}</span></p>'
    return f'{shown_now}<form class="scripted">{"".join(buttons)}</form>'


def _faults(pending: list[Fault]) -> str:
    if not pending:
        return '<p class="soft">None. What is added happens to the next requests.</p>'
    rows = [
        (
            f"<code>{fault.kind.value}</code>",
            escape(fault.on or _places(fault)),
            f"{fault.count} ×",
            "any" if fault.key_hash is None else _key(fault.key_hash),
            escape(", ".join(f"{name} {value}" for name, value in fault.options().items())),
        )
        for fault in pending
    ]
    clear = f'<form class="scripted">{_button("Clear", "faults", method="DELETE")}</form>'
    return _table(("fault", "on", "left", "key", ""), rows) + clear


def _places(fault: Fault) -> str:
    endpoints = FAULTS[fault.kind].endpoints
    return "any endpoint" if endpoints == ENDPOINTS else " ".join(sorted(endpoints))


def _fault_form() -> str:
    kinds = "".join(
        f'<option data-options="{" ".join(info.options)}">{kind.value}</option>' for kind, info in FAULTS.items()
    )
    options = "".join(map(_option, dict.fromkeys(name for info in FAULTS.values() for name in info.options)))
    endpoints = "".join(f"<option>{endpoint}</option>" for endpoint in sorted(ENDPOINTS))
    return (
        f'<form class="scripted"><select name="kind" aria-label="fault">{kinds}</select>'
        f'<select name="on" aria-label="endpoint"><option value="">any endpoint</option>{endpoints}</select>'
        '<input name="count" type="number" min="1" value="1" aria-label="times">'
        f"{options}<button>Add</button></form>"
    )


def _option(name: str) -> str:
    """Where an option of a fault is typed in; the script shows those that the kind takes."""
    default = Fault.__dataclass_fields__[name].default
    match default:
        case bool():
            typed = 'type="checkbox"'
        case str():
            typed = f'value="{escape(default)}"'
        case _:
            typed = f'type="number" step="any" placeholder="{"" if default is None else default}"'
    return f'<label hidden>{name} <input name="{name}" {typed}></label>'


def _first_steps(url: str) -> str:
    """A command to paste."""
    message = {"role": "user", "content": "Say hello"}
    params = {"model": "claude-haiku-5-5", "max_tokens": 100, "messages": [message]}
    body = json.dumps({"requests": [{"custom_id": "greeting", "params": params}]})
    command = (
        f"curl {url}{BATCHES_PATH} -H 'x-api-key: any key' -H 'anthropic-version: 2023-06-01' \\\n"
        f"  -H 'content-type: application/json' -d '{body}'"
    )
    return f'<p class="soft">None yet. This makes one:</p><pre>{escape(command)}</pre>'


def _batches(seen: list[Seen], total: int, url: str) -> str:
    if not seen:
        return _first_steps(url)
    head = ("batch", "key", "created", "status", "#requests", "#succeeded", "#errored", "#canceled", "#expired", "")
    table = _table(head, (_batch(each) for each in seen))
    return table if total == len(seen) else f'{table}<p class="soft">The newest {len(seen)} of {total}.</p>'


def _batch(seen: Seen) -> tuple[str, ...]:
    batch, counts = seen.batch, seen.batch.ending.counts
    ended = seen.status is Status.ENDED
    status = "ended, archived" if seen.archived else seen.status.value.replace("_", " ")
    path = f"batches/{batch.id}"
    if seen.status is Status.IN_PROGRESS:
        buttons = _button("End", f"{path}/end") + " " + _button("Expire", f"{path}/expire")
    elif ended:
        buttons = "" if seen.archived else _button("Archive", f"{path}/archive")
    else:
        buttons = _button("End", f"{path}/end")
    progress = "" if ended else f' <progress max="1" value="{seen.done:.3f}"></progress>'
    failed = [f'<span class="failed">{n:,}</span>' if n else "0" for n in (counts.errored, counts.expired)]
    outcomes = (f"{counts.succeeded:,}", failed[0], f"{counts.canceled:,}", failed[1])
    return (
        f'<button type="button" data-open="{escape(batch.id)}"><code>{escape(batch.id)}</code></button>',
        _key(batch.tenant),
        str(timestamp(batch.created_us))[5:19].replace("T", " "),
        f'<span class="{seen.status.value}">{status}</span>{progress}',
        f"{batch.total:,}",
        *(outcome if ended else "" for outcome in outcomes),
        f'<span class="scripted">{buttons}</span>',
    )


def _requests(entries: list[RecordedRequest]) -> str:
    if not entries:
        return '<p class="soft">None yet. The official SDK finds this sandbox at its <code>base_url</code>.</p>'
    rows = [
        (
            entry.at.strftime("%H:%M:%S"),
            escape(entry.method),
            f"<code>{escape(_target(entry))}</code>",
            f'<span class="{"ok" if entry.status == 200 else "failed"}">{entry.status or "no answer"}</span>',
            escape(entry.answer or ""),
            f"{entry.body_bytes:,}" if entry.body_bytes else "",
        )
        for entry in entries
    ]
    return _table(("at", "method", "path", "status", "answer", "#bytes sent"), rows)


def _key(tenant: str) -> str:
    """The beginning of a key's fingerprint; all of it on pointing at it."""
    whole = shown(tenant)
    return f'<code title="{escape(whole)}">{escape(whole.partition(":")[2][:6])}</code>'


def _target(entry: RecordedRequest) -> str:
    target = f"{entry.path}?{entry.query}" if entry.query else entry.path
    return target if len(target) <= _TARGET_CHARS else f"{target[:_TARGET_CHARS]}…"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table of cells that are HTML; a column whose head begins with `#` holds numbers."""
    kinds = [' class="number"' if title.startswith("#") else "" for title in head]
    cells = "".join(f"<th{kind}>{title.lstrip('#')}</th>" for kind, title in zip(kinds, head, strict=True))
    lines = (
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _button(label: str, path: str, body: Mapping[str, object] | None = None, method: str = "POST") -> str:
    sent = "" if body is None else f' data-body="{escape(json.dumps(body))}"'
    return f'<button type="button" data-method="{method}" data-path="{escape(path)}"{sent}>{label}</button>'
