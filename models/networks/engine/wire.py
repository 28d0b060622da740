"""Questions to an engine in another process, and its answers, as bytes.

A question is JSON, checked by pydantic. An answer is a file in the safetensors format: a header of
names, types and places, then the arrays one after the other. Nothing that is read can run a program.
See https://github.com/huggingface/safetensors#format.
"""

from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import InputError
from models.networks.interventions import Intervention

LONGEST_QUESTION = 4_000_000  # bytes: a mask of 8,192 tokens is by far the largest part of one
MOST_LABELS = 10_000


class Question(BaseModel):
    """What every call names. Bytes within a question travel in base64."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="forbid")

    network: str = Field(max_length=1_000)


class LabelsQuestion(Question):
    """Which tokens of the vocabulary are to be readable."""

    token_ids: tuple[int, ...] = Field(max_length=MOST_LABELS)


class TraceQuestion(Question):
    """Which text is to be traced, and with which change."""

    text: str
    intervention: Intervention


class UnrotatedQuestion(TraceQuestion):
    """The same, of one layer."""

    layer: int


class LayerQuestion(Question):
    """Which layer's own weights are asked for."""

    layer: int


class ScoreQuestion(Question):
    """Which answers to a prompt are to be scored."""

    prompt: str
    answers: tuple[str, ...] = Field(max_length=100)


class GenerateQuestion(Question):
    """How answers to a prompt are to be drawn."""

    prompt: str
    count: int
    new_tokens: int
    temperature: float
    seed: int


Q = TypeVar("Q", bound=Question)


def read_question(kind: type[Q], body: bytes) -> Q:
    """The question that a message holds. Raises InputError on one that is none, or out of range."""
    if len(body) > LONGEST_QUESTION:
        raise InputError(
            "A question to the pool of networks has at most {most} bytes.", most=LONGEST_QUESTION
        )
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        refused = first.get("ctx", {}).get("error")
        if isinstance(refused, InputError):
            raise refused from error
        raise InputError(
            "The pool of networks cannot read this question: {reason}.", reason=first["msg"]
        ) from error


def write_refusal(error: InputError) -> bytes:
    """A refusal as JSON, so that whoever asked can say it in their own language."""
    return orjson.dumps({"template": error.template, "values": error.values}, default=str)


def read_refusal(body: bytes) -> InputError:
    """The refusal that a message holds; raises ValueError where it holds none."""
    try:
        held = orjson.loads(body)
        return InputError.again(str(held["template"]), held["values"])
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("This is no refusal.") from error
