"""`http_client()`: what makes the model calls of an unmodified SDK durable, budgeted and traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.policy import Retry
from holdfast.errors import PolicyInvalid, UsageError

if TYPE_CHECKING:
    import httpx2

RETRY = Retry(attempts=4, wait=0.5, wait_max=30.0, total="5m")
"""The policy of model calls, unless another is given."""


def http_client(*, retry: Retry | None = None) -> httpx2.AsyncClient:
    """An HTTP client for `AsyncAnthropic(http_client=…)`: inside a run each message that is asked for is a step.

    retry: the one policy for these calls; the SDK's own `max_retries` is neutralised. Outside a run it is an
    ordinary client with the SDK's own limits. Its connections are shared on one event loop and closed with it, so
    it may be made as often as you like and need not be closed.
    """
    if retry is not None and not isinstance(retry, Retry):
        raise PolicyInvalid(f"retry={retry!r} is no Retry. Write retry=holdfast.Retry(attempts=4).")
    try:
        from holdfast.models.wire import Client  # heavy, and its packages are optional
    except ImportError as missing:
        raise UsageError(
            f"http_client() needs the package {missing.name!r}, which is not installed. Nothing was sent. "
            "Install it with: pip install 'holdfast[anthropic]'"
        ) from missing
    return Client(retry or RETRY)
