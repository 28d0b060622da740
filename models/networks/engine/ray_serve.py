"""The engine whose networks run in a Ray Serve pool, reached over HTTP (models.networks.engine.pool).

HTTP and not a Ray handle: the app then needs no Ray, is no part of its cluster, and outlives it.
"""

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeVar

import orjson
import torch
import urllib3
from pydantic import TypeAdapter
from urllib3.exceptions import EmptyPoolError, HTTPError, ReadTimeoutError

from models.errors import InputError
from models.networks.catalogue import CATALOGUE
from models.networks.engine.arrays import unpack_pair, unpack_samples, unpack_scores, unpack_trace
from models.networks.engine.process import InProcessEngine
from models.networks.engine.protocol import Engine
from models.networks.engine.wire import (
    GenerateQuestion,
    LabelsQuestion,
    LayerQuestion,
    Question,
    ScoreQuestion,
    TraceQuestion,
    UnrotatedQuestion,
    read_refusal,
)
from models.networks.facts import NetworkFacts
from models.networks.interventions import Intervention
from models.networks.sampling import Samples
from models.networks.scoring import AnswerScore
from models.networks.tokens import check_text
from models.networks.tracing import NO_INTERVENTION, OutputProjection, Trace, Unrotated
from models.runtime.kept import Kept
from models.runtime.settings import Settings
from models.runtime.turns import aside

T = TypeVar("T")

BACK_OFF = (0.1, 0.3)  # seconds before each further attempt at a pool that is full
AWAY_SECONDS = 5.0  # a pool that was gone is not asked again for so long
TROUBLE_SECONDS = 15.0  # for so long pages say that another engine stands in
CONNECTIONS = 64
PROJECTIONS_BYTES = 128_000_000
LABELS_KEPT = 2_048  # questions
EMBEDDED_NAMES = frozenset(entry.name for entry in CATALOGUE if entry.source == "embedded")
_log = logging.getLogger("loupe")


class PoolError(Exception):
    """The pool gave no answer; the input may be as good as any. Holds the sentence that says so."""

    def __init__(self, refusal: InputError):
        super().__init__(str(refusal))
        self.refusal = refusal


class RayServeEngine:
    """Asks a pool; where that does not answer, networks that ship with Loupe run in this process."""

    def __init__(self, address: str, connect_seconds: float, seconds: float, here: Engine):
        self._seconds, self._here = seconds, here
        # urllib3 reads an answer of several megabytes in a fifth of the time that httpx takes.
        self._client = urllib3.PoolManager(
            maxsize=CONNECTIONS,
            block=True,
            retries=False,
            timeout=urllib3.Timeout(connect=connect_seconds, read=seconds),
        )
        self._address = address.rstrip("/")
        self._away_until = self._trouble_until = 0.0
        self._trouble: InputError | None = None
        self._projections: Kept[tuple[str, int], OutputProjection] = Kept(
            lambda: PROJECTIONS_BYTES, lambda projection: projection.weight.nbytes
        )
        self._labels = lru_cache(maxsize=LABELS_KEPT)(self._ask_labels)
        self._facts = lru_cache(maxsize=64)(self._ask_facts)

    @classmethod
    def from_settings(cls, settings: Settings) -> "RayServeEngine":
        return cls(
            settings.engine_address,
            settings.engine_connect_seconds,
            settings.engine_seconds,
            InProcessEngine(),
        )

    @property
    def trouble(self) -> InputError | None:
        """What last kept the pool from answering, for a while after it did."""
        return self._trouble if time.monotonic() < self._trouble_until else None

    def facts(self, network: str) -> NetworkFacts:
        return self._or_here(network, lambda: self._facts(network), lambda: self._here.facts(network))

    def labels(self, network: str, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        return self._or_here(
            network, lambda: self._labels(network, token_ids), lambda: self._here.labels(network, token_ids)
        )

    def trace(self, network: str, text: str, intervention: Intervention = NO_INTERVENTION) -> Trace:
        def ask() -> Trace:
            question = TraceQuestion(network=network, text=text, intervention=intervention)
            return unpack_trace(
                self._ask("trace", question),
                lambda layer: self.output_projection(network, layer),
                lambda layer: self.unrotated(network, text, intervention, layer),
            )

        check_text(text)
        return self._or_here(network, ask, lambda: self._here.trace(network, text, intervention))

    def unrotated(
        self, network: str, text: str, intervention: Intervention, layer: int
    ) -> Unrotated | None:
        def ask() -> Unrotated | None:
            question = UnrotatedQuestion(network=network, text=text, intervention=intervention, layer=layer)
            query, key = unpack_pair(self._ask("unrotated", question))
            return None if query is None or key is None else (query, key)

        check_text(text)
        return self._or_here(network, ask, lambda: self._here.unrotated(network, text, intervention, layer))

    def output_projection(self, network: str, layer: int) -> OutputProjection:
        def ask() -> OutputProjection:
            answer = self._ask("output_projection", LayerQuestion(network=network, layer=layer))
            weight, bias = unpack_pair(answer)
            return OutputProjection(torch.empty(0, 0) if weight is None else weight, bias)

        return self._or_here(
            network,
            lambda: self._projections.get((network, layer), ask),
            lambda: self._here.output_projection(network, layer),
        )

    def score(self, network: str, prompt: str, answers: tuple[str, ...]) -> tuple[AnswerScore, ...]:
        def ask() -> tuple[AnswerScore, ...]:
            question = ScoreQuestion(network=network, prompt=prompt, answers=answers)
            return unpack_scores(self._ask("score", question))

        for text in (prompt, *filter(str.strip, answers)):
            check_text(text)
        return self._or_here(network, ask, lambda: self._here.score(network, prompt, answers))

    def generate(
        self, network: str, prompt: str, count: int, new_tokens: int, temperature: float, seed: int
    ) -> Samples:
        asked: dict[str, Any] = {
            "count": count,
            "new_tokens": new_tokens,
            "temperature": temperature,
            "seed": seed,
        }

        def ask() -> Samples:
            question = GenerateQuestion(network=network, prompt=prompt, **asked)
            return unpack_samples(self._ask("generate", question))

        check_text(prompt)
        return self._or_here(network, ask, lambda: self._here.generate(network, prompt, **asked))

    def _ask_facts(self, network: str) -> NetworkFacts:
        return TypeAdapter(NetworkFacts).validate_json(self._ask("facts", Question(network=network)))

    def _ask_labels(self, network: str, token_ids: tuple[int, ...]) -> tuple[str, ...]:
        question = LabelsQuestion(network=network, token_ids=token_ids)
        return tuple(orjson.loads(self._ask("labels", question)))

    def _or_here(self, network: str, ask: Callable[[], T], here: Callable[[], T]) -> T:
        """What the pool answers; what this process does, for embedded networks and a pool that cannot."""
        try:
            return ask()
        except InputError:
            raise
        except PoolError as error:
            refusal = error.refusal
        except (ValueError, KeyError):
            _log.exception("An answer of the pool of networks cannot be read.")
            refusal = _failed()
        self._trouble, self._trouble_until = refusal, time.monotonic() + TROUBLE_SECONDS
        if network not in EMBEDDED_NAMES:
            raise refusal
        return here()

    def _ask(self, call: str, question: Question) -> bytes:
        """The pool's answer. Raises InputError where it refuses, PoolError where it gives none."""
        if time.monotonic() < self._away_until:
            raise PoolError(_gone())
        body = question.model_dump_json().encode()
        for pause in (*BACK_OFF, None):
            with aside():  # the pool takes many questions at once
                response = self._post(call, body)
                if response.status == HTTPStatus.SERVICE_UNAVAILABLE and pause is not None:
                    time.sleep(pause)
            if response.status != HTTPStatus.SERVICE_UNAVAILABLE:
                return self._read(response)
        _log.warning("The pool of networks is full.")
        raise PoolError(InputError("The pool that runs networks is full just now; try again in a moment."))

    def _post(self, call: str, body: bytes) -> urllib3.BaseHTTPResponse:
        try:
            return self._client.request(
                "POST", f"{self._address}/{call}", body=body, pool_timeout=self._seconds
            )
        except (ReadTimeoutError, EmptyPoolError) as error:
            _log.warning("The pool of networks took longer than %s s.", self._seconds)
            raise PoolError(
                InputError(
                    "The pool that runs networks took longer than {seconds} s to answer.",
                    seconds=f"{self._seconds:g}",
                )
            ) from error
        except HTTPError as error:  # refused, reset, no such host, no time to connect
            self._away_until = time.monotonic() + AWAY_SECONDS
            _log.warning("The pool of networks cannot be reached: %s.", type(error).__name__)
            raise PoolError(_gone()) from error

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        if response.status == HTTPStatus.OK:
            return response.data
        try:
            if response.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                raise read_refusal(response.data)
        except InputError:
            raise
        except ValueError:
            pass  # an answer of another server
        _log.warning("The pool of networks answered %s.", response.status)
        raise PoolError(_failed())


def _gone() -> InputError:
    return InputError("The pool that runs networks cannot be reached.")


def _failed() -> InputError:
    return InputError("The pool that runs networks failed at this question.")
