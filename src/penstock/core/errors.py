"""The tree of errors. Each knows its HTTP status, its OpenAI `type` and `code`, and whether a client may retry.

PenstockError
├── ConfigError             a document, flag or variable is wrong; the message names field, value and fix
├── ModelError              a model cannot be found, fetched or trusted
└── RequestError            ends one request
    ├── BadRequest          400   invalid_request
    ├── Unauthenticated     401   invalid_api_key | key_expired | key_revoked
    ├── Forbidden           403   model_not_allowed | endpoint_not_allowed | admin_not_allowed
    ├── NotFound            404   model_not_found | not_found
    ├── MethodNotAllowed    405   method_not_allowed
    ├── RequestTimeout      408   request_timeout
    ├── Conflict            409   already_exists
    ├── TooLarge            413   request_too_large
    ├── ExpectationFailed   417   expectation_failed
    ├── Overloaded          429   queue_full | deadline_unmeetable | queue_timeout | displaced | bulkhead_full
    ├── LimitExceeded       429   rate_limit_exceeded
    │   ├── BudgetExceeded        budget_exceeded
    │   └── ConcurrencyExceeded   concurrency_exceeded
    ├── HeadTooLarge        431   head_too_large
    ├── ClientLeft          499   recorded, never sent
    ├── InternalError       500   internal_error
    ├── UpstreamFailed      502   upstream_refused | upstream_reset | upstream_malformed
    ├── Unavailable         503   engine_unavailable | overloaded | identity_unavailable | ledger_full
    │                             | ledger_unavailable | audit_unavailable
    ├── LimitsUnavailable   503   limits_unavailable
    └── UpstreamTimeout     504   first_byte_timeout | engine_slow | stall_timeout | total_timeout | connect_timeout
                                  | drain_timeout
"""


class PenstockError(Exception):
    """Root of everything Penstock raises on purpose; `str()` is one line fit for a person."""


class ConfigError(PenstockError):
    """A configuration value is wrong. The message names the field, the value and the fix."""


class ModelError(PenstockError):
    """A model cannot be found, fetched or trusted."""


class RequestError(PenstockError):
    """Ends one request with an OpenAI-shaped error body."""

    status = 500
    type = "server_error"
    code = "internal_error"
    outcome = "rejected"
    """Value of `record.Outcome` for a request that ends so."""
    retry: bool | None = None
    """What `x-should-retry` says to the SDK; None leaves it to the SDK's own rule."""
    allow: str | None = None
    """The `allow` header of a 405."""

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code


class BadRequest(RequestError):
    status, type, code, retry = 400, "invalid_request_error", "invalid_request", False


class Unauthenticated(RequestError):
    status, type, code, retry = 401, "authentication_error", "invalid_api_key", False


class Forbidden(RequestError):
    """The caller is known, and may not do this."""

    status, type, code, retry = 403, "permission_error", "endpoint_not_allowed", False


class NotFound(RequestError):
    status, type, code, retry = 404, "invalid_request_error", "not_found", False


class MethodNotAllowed(RequestError):
    status, type, code, retry = 405, "invalid_request_error", "method_not_allowed", False


class RequestTimeout(RequestError):
    status, type, code = 408, "timeout_error", "request_timeout"


class Conflict(RequestError):
    status, type, code, retry = 409, "invalid_request_error", "already_exists", False


class TooLarge(RequestError):
    status, type, code, retry = 413, "invalid_request_error", "request_too_large", False


class ExpectationFailed(RequestError):
    status, type, code, retry = 417, "invalid_request_error", "expectation_failed", False


class Overloaded(RequestError):
    """Every engine is busy, and waiting would not help or did not."""

    status, type, code = 429, "overloaded_error", "queue_full"
    outcome = "unavailable"


class LimitExceeded(RequestError):
    """A limit of the caller has no room for the request."""

    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"


class BudgetExceeded(LimitExceeded):
    """SDKs would wait seconds for what takes days, three times over."""

    code, retry = "budget_exceeded", False


class ConcurrencyExceeded(LimitExceeded):
    code = "concurrency_exceeded"


class HeadTooLarge(RequestError):
    status, type, code, retry = 431, "invalid_request_error", "head_too_large", False


class ClientLeft(RequestError):
    status, type, code = 499, "client_error", "client_left"
    outcome = "client_left"


class InternalError(RequestError):
    """A fault of ours: the traceback is logged, the client learns only the request id."""

    outcome = "internal_error"


class UpstreamFailed(RequestError):
    status, type, code = 502, "upstream_error", "upstream_failed"
    outcome = "upstream_failed"


class Unavailable(RequestError):
    status, type, code = 503, "server_error", "engine_unavailable"
    outcome = "unavailable"


class LimitsUnavailable(RequestError):
    """The store of limits cannot say whether there is room, and the rule fails closed."""

    status, type, code = 503, "server_error", "limits_unavailable"
    outcome = "unavailable"


class UpstreamTimeout(RequestError):
    status, type, code = 504, "timeout_error", "upstream_timeout"
    outcome = "timed_out"
