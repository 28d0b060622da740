"""A pool of networks: replicas of a Ray Serve deployment that answer an engine's questions over HTTP.

``make pool`` starts Ray and the pool on one machine (models.networks.engine.pool_server). Where a
cluster runs already, ``serve run models.networks.engine.pool:application`` puts the pool there.
`LOUPE_POOL_…` say how.
"""

import asyncio
from collections.abc import Callable

import orjson
import torch
from pydantic import TypeAdapter
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from models.errors import InputError
from models.networks.catalogue import DEFAULT
from models.networks.engine.arrays import pack_pair, pack_samples, pack_scores, pack_trace
from models.networks.engine.process import InProcessEngine
from models.networks.engine.wire import (
    GenerateQuestion,
    LabelsQuestion,
    LayerQuestion,
    Question,
    ScoreQuestion,
    TraceQuestion,
    UnrotatedQuestion,
    read_question,
    write_refusal,
)
from models.networks.facts import NetworkFacts
from models.networks.loading import load
from models.networks.tracing import trace, trace_batch
from models.runtime.kept import Kept
from models.runtime.settings import settings

ANSWERS_SHARE = 0.25  # of what the settings let a process keep; networks have the rest
BATCH_WAIT = 0.004  # seconds in which other texts may join a forward pass
BATCHES_AHEAD = 2  # texts that a replica accepts beyond the pass at work, so that the next one is full
Answer = bytes | InputError


def answers(asked: list[TraceQuestion]) -> list[Answer]:
    """Each question's trace, packed, or its refusal; the same text twice is computed once.

    Texts of the same network with the same change share a forward pass where they can.
    """
    found: dict[str, Answer] = {}
    groups: dict[object, list[TraceQuestion]] = {}
    for one in {one.model_dump_json(): one for one in asked}.values():
        groups.setdefault((one.network, one.intervention), []).append(one)
    for group in groups.values():
        for one, answer in zip(group, _together(group), strict=True):
            found[one.model_dump_json()] = answer
    return [found[one.model_dump_json()] for one in asked]


def _together(group: list[TraceQuestion]) -> list[Answer]:
    """One forward pass; where any text is refused or does not fit the others, each for itself."""
    first = group[0]
    try:
        traces = trace_batch(load(first.network), [one.text for one in group], first.intervention)
    except InputError as error:
        return [error] if len(group) == 1 else [_alone(one) for one in group]
    return [pack_trace(found) for found in traces]


def _alone(one: TraceQuestion) -> Answer:
    try:
        return pack_trace(trace(load(one.network), one.text, one.intervention))
    except InputError as error:
        return error


def _facts(one: Question) -> bytes:
    return TypeAdapter(NetworkFacts).dump_json(InProcessEngine().facts(one.network))


def _labels(one: LabelsQuestion) -> bytes:
    return orjson.dumps(InProcessEngine().labels(one.network, one.token_ids))


def _unrotated(one: UnrotatedQuestion) -> bytes:
    return pack_pair(InProcessEngine().unrotated(one.network, one.text, one.intervention, one.layer))


def _output_projection(one: LayerQuestion) -> bytes:
    found = InProcessEngine().output_projection(one.network, one.layer)
    return pack_pair((found.weight, found.bias))


def _score(one: ScoreQuestion) -> bytes:
    return pack_scores(InProcessEngine().score(one.network, one.prompt, one.answers))


def _generate(one: GenerateQuestion) -> bytes:
    drawn = one.model_dump(exclude={"network", "prompt"})
    return pack_samples(InProcessEngine().generate(one.network, one.prompt, **drawn))


# What is not a trace is short or rare, and runs by itself: kind of question, and who answers it.
CALLS: dict[str, tuple[type[Question], Callable[..., bytes]]] = {
    "facts": (Question, _facts),
    "labels": (LabelsQuestion, _labels),
    "unrotated": (UnrotatedQuestion, _unrotated),
    "output_projection": (LayerQuestion, _output_projection),
    "score": (ScoreQuestion, _score),
    "generate": (GenerateQuestion, _generate),
}


class Replica:
    """One process of the pool, with networks of its own, kept as the settings say."""

    def __init__(self):
        torch.set_num_threads(settings().pool_threads)
        self.batched.set_max_batch_size(settings().pool_batch)  # type: ignore[attr-defined]  # by serve.batch
        self._answers: Kept[str, bytes] = Kept(
            lambda: int(ANSWERS_SHARE * settings().cache_megabytes * 1e6), len
        )
        trace(load(DEFAULT), "Ready?")

    async def __call__(self, request: Request) -> Response:
        """POST /trace and the like: the answer's bytes, 422 with a refusal, 404 for no such call."""
        call = request.url.path.strip("/")
        if call == "ready":
            return JSONResponse({"ready": True})
        body = await request.body()
        try:
            if call == "trace":
                return _bytes(await self._trace(read_question(TraceQuestion, body)))
            if call not in CALLS:
                return Response(status_code=404)
            kind, answer = CALLS[call]
            return _bytes(await asyncio.to_thread(answer, read_question(kind, body)))
        except InputError as error:
            return Response(write_refusal(error), 422, media_type="application/json")

    async def _trace(self, question: TraceQuestion) -> bytes:
        """A lecture hall reads the same text: its trace is kept."""
        key = question.model_dump_json()
        if (kept := self._answers.find(key)) is not None:
            return kept
        (answer,) = await self.batched(question)  # in a tuple: Ray would raise an exception itself
        if isinstance(answer, InputError):
            raise answer
        return self._answers.get(key, lambda: answer)

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=BATCH_WAIT)
    async def batched(self, asked: list[TraceQuestion]) -> list[tuple[Answer]]:
        """Questions that came within a few milliseconds, answered in as few forward passes as can be."""
        return [(answer,) for answer in await asyncio.to_thread(answers, asked)]


def _bytes(answer: bytes) -> Response:
    return Response(answer, media_type="application/octet-stream")


def application(_arguments: dict[str, str]) -> serve.Application:
    """The pool as the settings want it: replicas, their GPUs, and how many questions may wait."""
    chosen = settings()
    resources = {"num_gpus": chosen.pool_gpus} if chosen.pool_gpus else {"num_cpus": chosen.pool_threads}
    deployed = serve.deployment(
        name="networks",
        num_replicas=chosen.pool_replicas,
        ray_actor_options=resources,
        max_ongoing_requests=BATCHES_AHEAD * chosen.pool_batch,
        max_queued_requests=chosen.pool_queue,
        graceful_shutdown_timeout_s=5,
    )(Replica)
    return deployed.bind()
