"""A sandbox of Anthropic's Message Batches API: an emulator to write and test code against, without a key or a bill.

It answers the six endpoints, and count_tokens, as the real API is documented, or was seen, to answer; `Evidence` marks
in the code what nobody outside Anthropic can know. Nothing in it calls a model: answers are made from the prompts, and
say so.

    with running_sandbox(clock=ManualClock()) as sandbox:
        client = anthropic.Anthropic(base_url=sandbox.url, api_key="any key")

docs/sandbox.md is its manual. In short: any key is accepted and sees its own workspace's batches only; a batch ends
`process_seconds` after its creation, its requests being processed one by one at an even pace; a phrase such as
`[[sandbox:expired]]` in a message orders the outcome of its request; `Sandbox` steers the clock, the batches and the
faults of a running sandbox, and so does its control surface under `/_sandbox/`.

Of `params`, the sandbox checks the required keys, unknown keys, what batches do not support, `tool_choice` and the
format of the answer; it does not look into messages, thinking, or tools that are not called. One request may
be 32 million characters long, and nested 500 deep.
"""

from batches_mcp.sandbox.answers import Answer
from batches_mcp.sandbox.app import create_app
from batches_mcp.sandbox.caller import fingerprint
from batches_mcp.sandbox.clock import Clock, ManualClock, SystemClock
from batches_mcp.sandbox.config import SandboxConfig
from batches_mcp.sandbox.evidence import Evidence
from batches_mcp.sandbox.faults import FAULTS, Fault, FaultKind, Faults
from batches_mcp.sandbox.inferred import Inferred
from batches_mcp.sandbox.limits import Tier
from batches_mcp.sandbox.requestlog import RecordedRequest
from batches_mcp.sandbox.server import Sandbox, run_sandbox, running_sandbox
from batches_mcp.sandbox.statefile import StateFileError
from batches_mcp.sandbox.steering import NotPossible, UnknownBatch

__all__ = [
    "FAULTS",
    "Answer",
    "Clock",
    "Evidence",
    "Fault",
    "FaultKind",
    "Faults",
    "Inferred",
    "ManualClock",
    "NotPossible",
    "RecordedRequest",
    "Sandbox",
    "SandboxConfig",
    "StateFileError",
    "SystemClock",
    "Tier",
    "UnknownBatch",
    "create_app",
    "fingerprint",
    "run_sandbox",
    "running_sandbox",
]
