"""Every kind of answer the endpoints give, with its status and how well that is known. Data only.

An answer's evidence is about its status and its `error.type`; a note says where the wording is the sandbox's own
(Anthropic calls all its wording unstable). Each answer carries its name in the header `x-sandbox-answer` and its
evidence in `x-sandbox-evidence`; what is wrong with single requests of a batch stands in `outcomes.ROW_RULES`.
"""

from enum import Enum, unique

from batches_mcp.sandbox.evidence import Evidence

__all__ = ["ANSWER_HEADER", "EVIDENCE_HEADER", "Answer"]

EVIDENCE_HEADER = "x-sandbox-evidence"
ANSWER_HEADER = "x-sandbox-answer"

_D, _C, _I = Evidence.DOCUMENTED, Evidence.CAPTURED, Evidence.INFERRED
_TEXT = "inferred text"


@unique
class Answer(Enum):
    """One kind of answer: (endpoint, what it is the answer to, status, evidence, note)."""

    def __init__(self, endpoint: str, to: str, status: int, evidence: Evidence, note: str = "") -> None:
        self.endpoint = endpoint
        self.to = to
        self.status = status
        self.evidence = evidence
        self.note = note

    @property
    def label(self) -> str:
        """Its name in headers, switches and documentation."""
        return self.name.lower().replace("_", "-")

    MISSING_CREDENTIAL = ("any", "no credential", 401, _D, _TEXT)
    BAD_KEY = ("any", "a bad key (here: one that contains `invalid`)", 401, _C)
    MISSING_VERSION = ("any", "no `anthropic-version`", 400, _C)
    UNKNOWN_VERSION = ("any", "an `anthropic-version` that does not exist", 400, _I)
    UNKNOWN_BETA = ("any", "an unknown name in `anthropic-beta`", 400, _D)
    WRONG_WORKSPACE = (
        "any",
        "an `anthropic-workspace-id` other than the key's",
        400,
        _I,
        "that it must match is documented",
    )
    SINGLE_MESSAGE = ("any", "`POST /v1/messages`", 404, _I, "the sandbox answers no single messages; the API does")
    UNKNOWN_PATH = ("any", "an unknown path", 404, _I)
    WRONG_METHOD = ("any", "a known path, another method", 405, _I)
    RATE_LIMIT = ("any", "more requests a minute than the tier allows", 429, _D, f"with `retry-after`; {_TEXT}")
    INTERNAL_ERROR = ("any", "a fault of the sandbox itself", 500, _D, _TEXT)

    CREATED = ("create", "a valid body", 200, _C)
    NOT_JSON = ("create", "not JSON", 400, _C)
    BAD_ENCODING = ("create", "a `content-encoding` other than gzip, or broken gzip", 400, _I)
    MISSING_REQUESTS = ("create", "no `requests`", 400, _I)
    NO_REQUESTS = ("create", "`requests: []`", 400, _C)
    TOO_MANY_REQUESTS = ("create", "more than 100,000 requests", 400, _I, "the limit is documented")
    TOO_LARGE = ("create", "a body over 256 MB", 413, _D, "a body without the outer `type`, as captured")
    TOO_LARGE_DECODED = ("create", "a gzip body over 256 MB once decoded", 413, _D, _TEXT)
    REQUEST_TOO_LARGE = ("create", "one request over 32 million characters", 413, _I)
    WRONG_SHAPE = ("create", "a body, `requests` or a request of the wrong JSON type", 400, _I)
    MISSING_CUSTOM_ID = ("create", "no `custom_id`", 400, _C)
    LONG_CUSTOM_ID = ("create", "a `custom_id` over 64 characters", 400, _C)
    EMPTY_CUSTOM_ID = ("create", "`custom_id` empty", 400, _D, _TEXT)
    CUSTOM_ID_CHARSET = ("create", "another character in `custom_id`", 400, _C)
    CUSTOM_ID_TYPE = ("create", "`custom_id` not a string", 400, _I)
    DUPLICATE_CUSTOM_ID = ("create", "a `custom_id` twice", 400, _C)
    MISSING_PARAMS = ("create", "no `params`", 400, _C)
    PARAMS_TYPE = ("create", "`params` not an object", 400, _I)
    EXTRA_KEY = ("create", "a key beside `requests`, or beside `custom_id` and `params`", 400, _I)
    SAMPLING_KEYS = ("create", "sampling keys under 2026-10-21, when switched to `create`", 400, _I)
    QUEUE_LIMIT = ("create", "more requests in the queue than the tier allows", 429, _D, f"no `retry-after`; {_TEXT}")

    RETRIEVED_IN_PROGRESS = ("retrieve", "a batch in progress", 200, _C, "with `retry-after: 10`")
    RETRIEVED_CANCELING = ("retrieve", "a batch being canceled", 200, _C)
    RETRIEVED_LIVE = ("retrieve", "a running batch, when `counts` is switched to `live`", 200, _I)
    RETRIEVED_ENDED = ("retrieve", "an ended batch", 200, _C)
    RETRIEVED_ARCHIVED = ("retrieve", "a batch over 29 days old", 200, _D)

    UNKNOWN_ID = ("any with an id", "an id that does not exist", 404, _C)
    MALFORMED_ID = ("any with an id", "an id without the form `msgbatch_…`", 404, _I)
    FOREIGN_ID = ("any with an id", "another key's batch", 404, _I)
    DELETED_ID = ("any with an id", "a deleted batch", 404, _I)

    LISTED = ("list", "newest first, `after_id`", 200, _D)
    LISTED_BACKWARDS = ("list", "`before_id`", 200, _I, "documented; that a page is newest first here too is inferred")
    LISTED_EMPTY = ("list", "nothing to list", 200, _I, "the nulls are inferred")
    LIMIT_RANGE = ("list", "`limit` not an integer from 1 to 1000", 400, _I, "the range is documented")
    BOTH_CURSORS = ("list", "`after_id` and `before_id`", 400, _I)
    UNKNOWN_CURSOR = ("list", "a cursor that is no batch of this key", 400, _I)

    RESULTS = ("results", "an ended batch", 200, _C)
    RESULTS_IN_PROGRESS = ("results", "a batch in progress", 404, _C)
    RESULTS_CANCELING = ("results", "a batch being canceled", 404, _I)
    RESULTS_ARCHIVED = ("results", "a batch over 29 days old", 404, _I, "documented: no results any more")

    CANCELED = ("cancel", "a batch in progress", 200, _C)
    CANCEL_CANCELING = ("cancel", "a batch being canceled", 200, _I)
    CANCEL_ENDED = ("cancel", "an ended batch", 400, _I)

    DELETED = ("delete", "an ended batch", 200, _D)
    DELETE_IN_PROGRESS = ("delete", "a batch in progress", 400, _C)
    DELETE_CANCELING = ("delete", "a batch being canceled", 400, _I)

    COUNTED = ("count_tokens", "params", 200, _I, "an estimate from lengths; the form is documented")
    COUNT_REFUSED = ("count_tokens", "params without a model or messages, or with an unknown key", 400, _I)
    COUNT_UNKNOWN_MODEL = ("count_tokens", "a model that does not exist", 404, _I)

    INJECTED_RATE_LIMIT = ("fault", "`rate_limit`", 429, _D, f"`retry-after` if one is given; {_TEXT}")
    INJECTED_SPEND_CAP = ("fault", "`spend_cap`", 429, _D, f"no `retry-after`; {_TEXT}")
    INJECTED_SPEND_LIMIT = ("fault", "`spend_limit`", 400, _D)
    INJECTED_SERVER_ERROR = ("fault", "`server_error`", 500, _D, _TEXT)
    INJECTED_BAD_GATEWAY = ("fault", "`bad_gateway`", 502, _I, "HTML, as proxies answer")
    INJECTED_TIMEOUT = ("fault", "`timeout`", 504, _D, _TEXT)
    INJECTED_LATE_CREATE = ("fault", "`late_create`", 504, _D, _TEXT)
    INJECTED_OVERLOADED = ("fault", "`overloaded`", 529, _D, _TEXT)
    INJECTED_NOT_FOUND = ("fault", "`not_found`", 404, _C, "reported for batches that exist")
    INJECTED_REDIRECT = ("fault", "`redirect`", 307, _I)
