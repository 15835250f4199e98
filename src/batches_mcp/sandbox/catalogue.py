"""The names the sandbox knows: API versions, betas, models and the keys of a request's params. Data only."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "BETAS",
    "BETA_PARAMS",
    "COUNTED_PARAMS",
    "EXTENDED_OUTPUT_BETA",
    "EXTENDED_OUTPUT_TOKENS",
    "MODELS",
    "PARAMS",
    "SAMPLING_PARAMS",
    "VERSIONS",
    "VERSION_WITHOUT_SAMPLING",
    "Model",
]

VERSION_WITHOUT_SAMPLING = "2026-10-21"
"""Documented: from this version on, sampling parameters are refused, in each request of a batch too."""

VERSIONS = frozenset({"2023-06-01", VERSION_WITHOUT_SAMPLING})

EXTENDED_OUTPUT_BETA = "output-300k-2026-03-24"
EXTENDED_OUTPUT_TOKENS = 300_000
"""Documented: with the beta, and on batches only, the supported models' ceiling."""

# The names listed by the official Python SDK 2.11.0, and `message-batches-2024-09-24`, which has no effect any more.
BETAS = frozenset(
    """
    advisor-tool-2026-03-01 agent-memory-2026-07-22 analytics-usage-cost-2026-08-24 cache-diagnosis-2026-04-07
    ce-claude-code-managed-settings-2026-10-06 ce-plugins-2026-09-01 ce-user-management-2026-07-13
    code-execution-2025-05-22 compact-2026-01-12 compact-2026-09-04 computer-use-2024-10-22 computer-use-2025-01-24
    computer-use-2025-11-24 context-1m-2025-08-07 context-management-2025-06-27 dev-full-thinking-2025-05-14
    dreaming-2026-04-21 experimental-claude-tag-2026-10-21 extended-cache-ttl-2025-04-11 fallback-credit-2026-06-01
    fallback-credit-2026-07-01 fast-mode-2026-02-01 files-api-2025-04-14 inline-tools-2026-09-15
    interleaved-thinking-2025-05-14 managed-agents-2026-04-01 mcp-client-2025-04-04 mcp-client-2025-11-20
    mcp-client-2026-09-15 mcp-tunnels-2026-06-22 message-batches-2024-09-24 message-threads-2026-08-12
    mid-conversation-output-config-2026-07-01 mid-conversation-system-clear-at-2026-08-21
    mid-conversation-tool-changes-2026-07-01 model-context-window-exceeded-2025-08-26 output-128k-2025-02-19
    output-300k-2026-03-24 pdfs-2024-09-25 prompt-caching-2024-07-31 server-side-fallback-2026-06-01
    server-side-fallback-2026-07-01 skills-2025-10-02 spend-limit-reads-2026-09-26 structured-outputs-2025-11-13
    task-budgets-2026-03-13 telemetry-destinations-2026-08-11 thinking-binding-controls-2026-08-01
    thinking-display-updates-2026-08-18 thinking-token-count-2026-05-13 token-counting-2024-11-01
    token-efficient-tools-2025-02-19 user-profiles-2026-03-24 user-profiles-2026-08-18 user-profiles-2026-09-04
    user-profiles-billing-2026-10-01 webhooks-2026-10-07 admin-user-sign-out-2026-10-08
    """.split()  # noqa: SIM905 - far shorter than one name a line
)

# Documented: the params of a batch request, as the official Python SDK 2.11.0 types them.
PARAMS = frozenset(
    """
    cache_control container diagnostics inference_geo max_tokens messages metadata model output_config service_tier
    speed stop_sequences stream system thinking tool_choice tools user_profile_id
    """.split()  # noqa: SIM905
)
# Of them, those that count_tokens takes, by the same SDK. Inferred: that it refuses the others, even `max_tokens`.
COUNTED_PARAMS = frozenset(
    {"cache_control", "messages", "model", "output_config", "speed", "system", "thinking", "tool_choice", "tools"}
)
# Left the SDK's types in its 1.0, still accepted by the API under version 2023-06-01.
SAMPLING_PARAMS = ("temperature", "top_p", "top_k")

# Params of the beta client. Inferred: the betas (by the start of their names) without which they are unknown keys.
# Documented: `fallback_credit_token` is accepted and ignored.
BETA_PARAMS: Mapping[str, tuple[str, ...]] = {
    "billing_policy": ("user-profiles-billing-",),
    "compaction": ("compact-",),
    "context_management": ("context-management-", "compact-"),
    "fallback_credit_token": ("",),
    "fallbacks": ("",),
    "mcp_servers": ("mcp-client-",),
    "output_format": ("structured-outputs-",),
    "thread": ("message-threads-",),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked for.

    resolved: the snapshot named in the answer.
    max_tokens: ceiling of `max_tokens`.
    extended_output: whether the ceiling rises to 300,000 under the beta.
    default_sampling_only: whether sampling parameters other than the defaults are refused.
    forced_tools: whether `tool_choice` may demand a call of a tool.
    """

    id: str
    resolved: str
    max_tokens: int
    extended_output: bool
    default_sampling_only: bool
    forced_tools: bool = True


def _current(
    model_id: str, *, extended_output: bool = False, default_sampling_only: bool = True, forced_tools: bool = True
) -> Model:
    return Model(model_id, model_id, 128_000, extended_output, default_sampling_only, forced_tools)


def _dated(model_id: str, date: str) -> tuple[Model, Model]:
    snapshot = f"{model_id}-{date}"
    return (
        Model(model_id, snapshot, 64_000, extended_output=False, default_sampling_only=False),
        Model(snapshot, snapshot, 64_000, extended_output=False, default_sampling_only=False),
    )


# Models and ceilings as documented in November 2026. Extended output is documented for Opus 4.6 to 5.5 and Sonnet 4.6
# and 5, inferred for Haiku 5.5. Documented: which models refuse forced tools. Inferred: "newer models", which take
# default sampling only, start with Opus 4.7.
MODELS: Mapping[str, Model] = {
    model.id: model
    for model in (
        _current("claude-fable-5-2", forced_tools=False),
        _current("claude-fable-5-1", forced_tools=False),
        _current("claude-fable-5"),
        _current("claude-mythos-5-2", forced_tools=False),
        _current("claude-mythos-5-1", forced_tools=False),
        _current("claude-mythos-5"),
        _current("claude-mythos-preview"),
        _current("claude-opus-5-5", forced_tools=False, extended_output=True),
        _current("claude-opus-5", extended_output=True),
        _current("claude-opus-4-8", extended_output=True),
        _current("claude-opus-4-7", extended_output=True),
        _current("claude-opus-4-6", extended_output=True, default_sampling_only=False),
        *_dated("claude-opus-4-5", "20251101"),
        _current("claude-sonnet-5-5"),
        _current("claude-sonnet-5", extended_output=True),
        _current("claude-sonnet-4-6", extended_output=True, default_sampling_only=False),
        *_dated("claude-sonnet-4-5", "20250929"),
        _current("claude-haiku-5-5", extended_output=True),
        *_dated("claude-haiku-4-5", "20251001"),
    )
}
