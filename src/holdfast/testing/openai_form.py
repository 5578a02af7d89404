"""What the APIs of OpenAI have in common at the fake provider: keys, errors, tools and the names of tokens.

`chat_api`, `responses_api` and `embeddings_api` are built from it. Azure's paths are served too: they need
`api-version` in the query unless they begin with `/openai/v1/`, take the model from the path where the body has
none, and the key from `api-key`.

Never: does I/O, reads a clock, or keeps state.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from holdfast.testing.dialect import Tokens, Turn, Wrong, is_text, minted, refused, repeats, total
from holdfast.testing.loopback import Answer, Call
from holdfast.testing.policy import Reply, error

ERRORS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", None),
    405: ("invalid_request_error", "method_not_supported"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("server_error", "server_is_overloaded"),
}
"""Type and code of each status; any other is a `server_error` without a code."""
SPENT = ("insufficient_quota", "credit_balance_exhausted")
DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/")
AZURE = re.compile(r"/openai/(?!v1/)")
NAME_FORM = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def gate(call: Call, violations: Callable[[dict[str, Any]], Iterator[Wrong]]) -> Reply | None:
    """The first violation: of the method, the key, the JSON, or what `violations` finds in the body."""
    if call.method != "POST":
        return error(405, message=f"Not allowed to {call.method} on {call.path}.", headers={"allow": "POST"})
    if AZURE.match(call.path) and not call.query.get("api-version"):
        return error(404, message="Resource not found: the query has no `api-version`.", code="404")
    bearer = call.headers.get("authorization", "").removeprefix("Bearer").strip()
    if not (bearer or call.headers.get("api-key", "").strip()):
        return error(401, message="You didn't provide an API key: send it as `Authorization: Bearer KEY`.")
    try:
        body = call.json()
    except ValueError as wrong:
        return error(400, message=f"The body of your request is not valid JSON: {wrong}")
    if not isinstance(body, dict):
        return error(400, message="The body of your request must be a JSON object.")
    return refused(violations(body))


def model_of(call: Call, body: Mapping[str, Any]) -> str:
    """The model that is asked: the body's, else Azure's deployment; "" where there is none."""
    deployment = DEPLOYMENT.match(call.path)
    model = body.get("model", deployment[1] if deployment else "")
    return model if is_text(model) else ""


def is_stream(call: Call, body: Any) -> bool:
    """Whether a stream is asked for."""
    return isinstance(body, dict) and body.get("stream") is True


def headers_of(turn: Turn, reply: Reply) -> dict[str, str]:
    """The headers of an answer."""
    wait = reply.error.get("retry_after_s")
    return {
        "x-request-id": minted("req_", f"{turn.n}"),
        **({} if wait is None else {"retry-after": f"{wait:g}"}),
        **reply.headers,
    }


def failed(reply: Reply, turn: Turn) -> Answer:
    """The error on the wire."""
    return Answer(reply.status, {"error": error_of(reply)}, headers_of(turn, reply))


def error_of(reply: Reply) -> dict[str, Any]:
    """The error object."""
    kind, code = SPENT if reply.error.get("billing") else ERRORS.get(reply.status, ("server_error", None))
    told = {"message": reply.error["message"], "type": kind, "param": None, "code": code}
    return told | {name: reply.error[name] for name in ("type", "param", "code") if name in reply.error}


def usage_of(used: Tokens, input: str, output: str) -> dict[str, Any]:
    """The tokens in OpenAI's names: all of the input are in `input`, and those of the cache again in the details."""
    asked, said = total(used.input, used.cache_read, used.cache_write), used.output
    return {
        f"{input}_tokens": asked,
        f"{input}_tokens_details": {"cached_tokens": used.cache_read, "cache_write_tokens": used.cache_write},
        f"{output}_tokens": said,
        f"{output}_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": total(asked, said),
        **used.more,
    }


def common_violations(call: Call, body: Mapping[str, Any]) -> Iterator[Wrong]:
    """What is wrong with the model, the stream and the numbers that both Chat and Responses have."""
    if not model_of(call, body):
        yield Wrong("You must provide a model parameter.", "model")
    if not isinstance(body.get("stream") or False, bool):
        yield Wrong("Invalid type for 'stream': expected a boolean.", "stream")
    if body.get("stream_options") is not None:
        if body.get("stream") is not True:
            yield Wrong("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        if not isinstance(body["stream_options"], dict):
            yield Wrong("Invalid type for 'stream_options': expected an object.", "stream_options")
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is not None and not (type(value) in (int, float) and 0 <= value <= most):
            yield Wrong(f"Invalid '{name}': expected a number between 0 and {most}.", name)


def tool_violations(
    body: Mapping[str, Any], functions: Sequence[tuple[str, Any]], chosen: str | None, kinds: Sequence[str]
) -> Iterator[Wrong]:
    """What is wrong with the names of functions and `tool_choice`.

    `functions` are place and name of each function declared; `chosen` is the function that the choice names;
    `kinds` are the types that an object as choice may have.
    """
    for place, name in functions:
        if not isinstance(name, str) or not NAME_FORM.fullmatch(name):
            yield Wrong(f"Invalid '{place}': expected a name that matches '^[a-zA-Z0-9_-]+$', not {name!r}.", place)
    names = [name for _, name in functions]
    if twice := repeats(names):
        yield Wrong(f"Function names must be unique; repeated: {', '.join(twice)}", "tools")
    choice = body.get("tool_choice")
    if choice is not None:
        if not body.get("tools"):
            yield Wrong("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
        if isinstance(choice, str) and choice not in ("none", "auto", "required"):
            yield Wrong(f"Invalid value: {choice!r}. Supported are 'none', 'auto' and 'required'.", "tool_choice")
        if not isinstance(choice, str | dict) or (isinstance(choice, dict) and choice.get("type") not in kinds):
            yield Wrong(f"Invalid 'tool_choice': its type is one of {', '.join(kinds)}.", "tool_choice.type")
        if chosen is not None and chosen not in names:
            yield Wrong(f"Tool choice {chosen!r} not found in 'tools' parameter.", "tool_choice")


def text_of(content: Any) -> str:
    """The text of a message's content."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
