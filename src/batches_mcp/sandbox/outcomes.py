"""What becomes of one request once it is processed: a table of rules over its params. Pure.

Documented: the API checks the contents of `params` after the batch was accepted, so a broken request is an errored row
and never an error of the create.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from batches_mcp.sandbox.catalogue import (
    BETA_PARAMS,
    COUNTED_PARAMS,
    EXTENDED_OUTPUT_BETA,
    EXTENDED_OUTPUT_TOKENS,
    MODELS,
    PARAMS,
    SAMPLING_PARAMS,
    VERSION_WITHOUT_SAMPLING,
)
from batches_mcp.sandbox.evidence import Evidence
from batches_mcp.sandbox.lifecycle import Fate, Terms
from batches_mcp.sandbox.outputs import called_tool, forced_tool, format_problem, tool_choice_problem, tool_problem
from batches_mcp.sandbox.prompt import Params, slow_in, trigger_in, unreachable_url

__all__ = ["ROW_RULES", "RowError", "RowRule", "Verdict", "check_input", "judge", "sampling_removed"]


@dataclass(frozen=True, slots=True)
class RowError:
    """The error of an errored row. Captured: one met at run time has a `workerreq_` id, one met before has none."""

    type: str
    message: str
    at_run_time: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one request, if it is done in time.

    stop_reason, thinking: of a succeeded one; whether its answer begins with a block of thinking.
    error: of an errored one.
    slow_us: how long it takes at least.
    """

    fate: Fate
    stop_reason: str = "end_turn"
    thinking: bool = False
    error: RowError | None = None
    slow_us: int = 0


@dataclass(frozen=True, slots=True)
class RowRule:
    """One reason why a request fails; `check` returns the error, or None where the rule is kept."""

    name: str
    evidence: Evidence
    check: Callable[[Params, Terms], RowError | None]


def judge(params: Params, terms: Terms) -> Verdict:
    """The outcome of a request: the first broken rule, else what its trigger phrases order, else an answer."""
    for rule in ROW_RULES:
        if error := rule.check(params, terms):
            return Verdict(Fate.ERRORED, error=error)
    return replace(_ordered(params), slow_us=round(slow_in(params) * 1_000_000))


def check_input(params: Params, terms: Terms) -> RowError | None:
    """What is wrong with params whose tokens are to be counted; None if nothing is."""
    for name in params:
        if name not in COUNTED_PARAMS and not _allowed_by_beta(name, terms):
            return _invalid(f"{name}: Extra inputs are not permitted")
    checks = (_missing("model"), _missing("messages"), _wrong_input_type, _unknown_model)
    return next((error for check in checks if (error := check(params, terms))), None)


def _ordered(params: Params) -> Verdict:
    trigger = trigger_in(params)
    # Nobody calls a tool that was not offered.
    answered = Verdict(Fate.SUCCEEDED, stop_reason="tool_use" if called_tool(params) else "end_turn")
    if trigger is None:
        return answered
    match trigger.name:
        case "expired":  # A shortcut: the API lets a request expire only together with the batch.
            return Verdict(Fate.EXPIRED)
        case "errored":
            return Verdict(Fate.ERRORED, error=_runtime_error(trigger.argument or "api_error"))
        case "credit":
            return Verdict(Fate.ERRORED, error=_invalid(_LOW_CREDIT))
        case "thinking":
            return replace(answered, thinking=True)
        case "tool_use":
            return answered
        case stop_reason:  # Documented: a refused and a truncated answer are succeeded rows.
            return Verdict(Fate.SUCCEEDED, stop_reason=stop_reason)


# Captured in bespokelabsai/curator issue 296, in thousands of rows of one batch.
_LOW_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)

# Documented types; inferred texts.
_RUNTIME_MESSAGES = {
    "api_error": "Internal server error",
    "authentication_error": "API key is invalid.",
    "billing_error": "There is an issue with your organization's billing.",
    "invalid_request_error": "The request is invalid.",
    "not_found_error": "Not found",
    "overloaded_error": "Overloaded",
    "permission_error": "Your API key does not have permission to use the specified resource.",
    "rate_limit_error": "This request would exceed your organization's rate limit.",
    "timeout_error": "Request timed out",
}


def _runtime_error(error_type: str) -> RowError:
    return RowError(error_type, _RUNTIME_MESSAGES.get(error_type, error_type), at_run_time=True)


def _invalid(message: str) -> RowError:
    return RowError("invalid_request_error", message)


def _missing(name: str) -> Callable[[Params, Terms], RowError | None]:
    def check(params: Params, _: Terms) -> RowError | None:
        return None if name in params else _invalid(f"{name}: Field required")

    return check


def _stream(params: Params, _: Terms) -> RowError | None:
    if params.get("stream"):
        return _invalid('"stream=True" is not supported in the Message Batches API')
    return None


def _speed(params: Params, _: Terms) -> RowError | None:
    if params.get("speed") is not None:
        return _invalid('"speed" is not supported in the Message Batches API')
    return None


def _fallbacks(params: Params, _: Terms) -> RowError | None:
    if params.get("fallbacks") is not None:
        return _invalid('"fallbacks" is not supported in the Message Batches API')
    return None


def sampling_removed(params: Params, terms: Terms) -> RowError | None:
    """The error of a request with sampling keys under a version that has none."""
    if terms.version < VERSION_WITHOUT_SAMPLING:
        return None
    name = next((name for name in SAMPLING_PARAMS if name in params), None)
    return _invalid(f"{name}: Extra inputs are not permitted") if name else None


def _unknown_key(params: Params, terms: Terms) -> RowError | None:
    for name in params:
        if name not in PARAMS and name not in SAMPLING_PARAMS and not _allowed_by_beta(name, terms):
            return _invalid(f"{name}: Extra inputs are not permitted")
    return None


def _allowed_by_beta(name: str, terms: Terms) -> bool:
    prefixes = BETA_PARAMS.get(name)
    return prefixes is not None and ("" in prefixes or any(beta.startswith(prefixes) for beta in terms.betas))


def _wrong_input_type(params: Params, _: Terms) -> RowError | None:
    if not isinstance(params["model"], str):
        return _invalid("model: Input should be a valid string")
    if not isinstance(params["messages"], list):
        return _invalid("messages: Input should be a valid list")
    if not params["messages"]:
        return _invalid("messages: at least one message is required")
    return None


def _wrong_type(params: Params, terms: Terms) -> RowError | None:
    if error := _wrong_input_type(params, terms):
        return error
    if isinstance(params["max_tokens"], bool) or not isinstance(params["max_tokens"], int):
        return _invalid("max_tokens: Input should be a valid integer")
    return None


def _unknown_model(params: Params, _: Terms) -> RowError | None:
    model = params["model"]
    return None if model in MODELS else RowError("not_found_error", f"model: {model}")


def _max_tokens_low(params: Params, _: Terms) -> RowError | None:
    if params["max_tokens"] < 1:
        return _invalid("max_tokens: must be greater than or equal to 1")
    return None


def _max_tokens_high(params: Params, terms: Terms) -> RowError | None:
    model = MODELS[params["model"]]
    extended = model.extended_output and EXTENDED_OUTPUT_BETA in terms.betas
    ceiling = EXTENDED_OUTPUT_TOKENS if extended else model.max_tokens
    asked = params["max_tokens"]
    if asked <= ceiling:
        return None
    return _invalid(
        f"max_tokens: {asked} > {ceiling}, which is the maximum allowed number of output tokens for {model.resolved}"
    )


# Inferred values: what the API documents or documented as the default of each.
_SAMPLING_DEFAULTS = {"temperature": 1, "top_p": 1, "top_k": None}


def _sampling_not_default(params: Params, _: Terms) -> RowError | None:
    if not MODELS[params["model"]].default_sampling_only:
        return None
    for name, default in _SAMPLING_DEFAULTS.items():
        if params.get(name, default) != default:
            return _invalid(f"`{name}` is deprecated for this model.")
    return None


def _forced_tool(params: Params, _: Terms) -> RowError | None:
    if MODELS[params["model"]].forced_tools or not forced_tool(params):
        return None
    return _invalid("tool_choice: forced tool use is not supported by this model")


def _kept(problem: Callable[[Params], str | None]) -> Callable[[Params, Terms], RowError | None]:
    def check(params: Params, _: Terms) -> RowError | None:
        message = problem(params)
        return None if message is None else _invalid(message)

    return check


def _user_profile(params: Params, terms: Terms) -> RowError | None:
    asked = params.get("user_profile_id")
    if asked is None or terms.user_profile is None or asked == terms.user_profile:
        return None
    return _invalid("user_profile_id: conflicts with the `anthropic-user-profile-id` header")


def _unreachable_url(params: Params, _: Terms) -> RowError | None:
    if unreachable_url(params) is None:
        return None
    message = "Unable to download the file. Please verify the URL and try again."
    return RowError("invalid_request_error", message, at_run_time=True)


# In order: a rule may rely on those above it. Where only the level is known, the text is inferred.
ROW_RULES = (
    RowRule("stream", Evidence.CAPTURED, _stream),
    RowRule("speed: documented refusal, inferred text", Evidence.DOCUMENTED, _speed),
    RowRule("fallbacks: documented refusal, inferred text", Evidence.DOCUMENTED, _fallbacks),
    RowRule("sampling parameters left with version 2026-10-21", Evidence.DOCUMENTED, sampling_removed),
    RowRule("unknown key", Evidence.CAPTURED, _unknown_key),
    RowRule("model missing", Evidence.INFERRED, _missing("model")),
    RowRule("messages missing", Evidence.CAPTURED, _missing("messages")),
    RowRule("max_tokens missing", Evidence.INFERRED, _missing("max_tokens")),
    RowRule("wrong type of a required key", Evidence.INFERRED, _wrong_type),
    RowRule("unknown or retired model", Evidence.CAPTURED, _unknown_model),
    RowRule("max_tokens below 1", Evidence.CAPTURED, _max_tokens_low),
    RowRule("max_tokens above the model's ceiling", Evidence.CAPTURED, _max_tokens_high),
    RowRule(
        "newer models take default sampling only: documented, inferred text", Evidence.DOCUMENTED, _sampling_not_default
    ),
    RowRule(
        "a `tool_choice` that makes no sense, or names a tool that is not offered",
        Evidence.INFERRED,
        _kept(tool_choice_problem),
    ),
    RowRule("newer models take no forced `tool_choice`: documented, inferred text", Evidence.DOCUMENTED, _forced_tool),
    RowRule("the called tool's `input_schema` is invalid, or nothing fits it", Evidence.INFERRED, _kept(tool_problem)),
    RowRule(
        "a format of the answer that makes no sense, or that nothing fits", Evidence.INFERRED, _kept(format_problem)
    ),
    RowRule("user profile of request and header differ: documented, inferred text", Evidence.DOCUMENTED, _user_profile),
    RowRule("unreachable URL: captured outcome, inferred text", Evidence.CAPTURED, _unreachable_url),
)
