"""A sandbox of Anthropic's Message Batches API: an emulator to write and test code against, without a key or a bill.

It answers the six endpoints as the real API is documented, or was seen, to answer; `Evidence` marks in the code what
nobody outside Anthropic can know. Nothing in it calls a model: answers are made from the prompts, and say so.

    with running_sandbox(clock=ManualClock()) as sandbox:
        client = anthropic.Anthropic(base_url=sandbox.url, api_key="any key")

What is the sandbox's own:

- Any key is accepted and sees its own batches only; a key that contains `invalid` is refused as a bad key is.
- A batch ends `process_seconds` after its creation, its requests being processed one by one at an even pace.
- A phrase in a message orders the outcome of its request: `[[sandbox:expired]]` (although the batch ends in time),
  `[[sandbox:errored]]`, `[[sandbox:errored overloaded_error]]` or another type, `[[sandbox:credit]]` (credit used up),
  `[[sandbox:refusal]]`, `[[sandbox:max_tokens]]`. An image or document URL under `.invalid` cannot be fetched.
- One request may be 32 million characters long, and nested 500 deep.
- There are no rate, queue or spend limits, and no answers with tool use or thinking. Of `params`, the sandbox checks
  the required keys, unknown keys and what batches do not support; it does not look into messages, tools or thinking.
"""

from batches_mcp.sandbox.app import create_app
from batches_mcp.sandbox.caller import fingerprint
from batches_mcp.sandbox.clock import Clock, ManualClock, SystemClock
from batches_mcp.sandbox.config import SandboxConfig
from batches_mcp.sandbox.evidence import Evidence
from batches_mcp.sandbox.requestlog import RecordedRequest
from batches_mcp.sandbox.server import Sandbox, run_sandbox, running_sandbox
from batches_mcp.sandbox.store import StateFileError

__all__ = [
    "Clock",
    "Evidence",
    "ManualClock",
    "RecordedRequest",
    "Sandbox",
    "SandboxConfig",
    "StateFileError",
    "SystemClock",
    "create_app",
    "fingerprint",
    "run_sandbox",
    "running_sandbox",
]
