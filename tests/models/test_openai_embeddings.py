"""What is read off the Embeddings API."""

import json

import pytest

from holdfast.core.usage import Usage
from holdfast.models import openai_embeddings
from holdfast.models.call import Provider, Sse
from holdfast.models.openai_embeddings import answered, asked, ends, is_call, streamed, weigh, with_model

BODY = {"object": "list", "data": [], "model": "e-1", "usage": {"prompt_tokens": 8, "total_tokens": 8}}


def test_it_is_a_provider() -> None:
    """The wire asks nothing else of it."""
    provider: Provider = openai_embeddings
    assert (provider.NAME, provider.STEP, provider.HISTORY) == ("openai", "embeddings", "")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/embeddings", True),
        ("POST", "/v1beta/openai/embeddings", True),
        ("POST", "/openai/deployments/d/embeddings", True),
        ("POST", "/embeddings", True),
        ("GET", "/v1/embeddings", False),
        ("POST", "/collections/7/embeddings", False),
    ],
)
def test_a_model_call_is_known_by_its_path(method: str, path: str, expected: bool) -> None:
    """What a vector store calls so is no model call."""
    assert is_call(method, path, {}) is expected


def test_its_input_is_bounded_by_its_bytes_and_its_output_is_nothing() -> None:
    """P7, also when the input is a list of token numbers: each has a digit and a comma."""
    read = asked({"model": "e", "input": ["x" * 50]}, "/v1/embeddings", 90)
    assert (read.model, read.head_max, read.output_max, read.is_stream) == ("e", 90, 0, False)
    assert asked({}, "/openai/deployments/d/embeddings", 2).model == "d"
    assert weigh("x", 3) == 3


def test_no_other_model_can_answer() -> None:
    """Its vectors would mean something else, and nobody would notice."""
    assert with_model({"model": "e"}, "/v1/embeddings", "f") is None


def test_an_answer_is_read() -> None:
    """It has no stream."""
    raw = json.dumps(BODY).encode()
    for read in (answered(200, raw), streamed(200, raw)):
        assert (read.served, read.usage, read.is_complete) == ("e-1", Usage(8, 0), True)
    assert answered(200, b"<html>").is_object is False
    assert not ends(Sse("", raw))
