"""A real pool: the same numbers as in this process, a bounded queue, refusals, and its end."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import urllib3
from torch.testing import assert_close

from models.errors import InputError
from models.networks.engine.process import InProcessEngine
from models.networks.engine.ray_serve import RayServeEngine
from models.networks.engine.wire import TraceQuestion
from models.networks.interventions import Intervention
from models.networks.tracing import NO_INTERVENTION
from tests.models.networks.test_trace_batch import assert_same

NETWORK = "loupe-llama"
TEXT = "The keeper lit the lamp, and the keeper slept."
HERE = InProcessEngine()
SILENCED = Intervention(silenced=frozenset({(99, 0)}))


@pytest.fixture
def engine(pool):
    engine = RayServeEngine(pool, 5.0, 60.0, HERE)
    yield engine
    assert engine.trouble is None


def test_facts_and_labels_are_those_of_the_network(engine):
    assert engine.facts(NETWORK) == HERE.facts(NETWORK)
    assert engine.labels(NETWORK, (5, 700, 2)) == HERE.labels(NETWORK, (5, 700, 2))


@pytest.mark.parametrize(
    "change",
    [
        NO_INTERVENTION,
        Intervention(temperature=2.0, silenced=frozenset({(1, 3)})),
        Intervention(hidden_cells=frozenset({(0, 1, 4, 2)}), swapped_layout=frozenset({"query"})),
        Intervention(residual=False),
    ],
)
def test_a_trace_is_that_of_this_process(engine, change):
    ours, theirs = (one.trace(NETWORK, TEXT, change) for one in (engine, HERE))
    assert_same(ours, theirs)
    assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
    for layer, other in zip(ours.layers, theirs.layers, strict=True):
        assert_close(layer.reassembled, layer.projected, atol=1e-4, rtol=1e-4)
        assert torch.equal(layer.output_weight, other.output_weight)


def test_other_texts_at_the_same_time_do_not_mix(engine):
    texts = [f"{TEXT} {'And again. ' * count}" for count in range(6)]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda text: engine.trace(NETWORK, text), texts))
    for ours, text in zip(together, texts, strict=True):
        assert_same(ours, HERE.trace(NETWORK, text))


def test_scores_and_samples_are_those_of_this_process(engine):
    ours, theirs = (one.score(NETWORK, "Who rang", (" the bell?", " it?")) for one in (engine, HERE))
    for one, other in zip(ours, theirs, strict=True):
        assert one.labels == other.labels
        assert np.array_equal(one.token_ids, other.token_ids)
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, atol=1e-5)
    ours, theirs = (one.generate(NETWORK, "Who rang", 3, 8, 1.0, seed=4) for one in (engine, HERE))
    assert ours.texts == theirs.texts
    np.testing.assert_allclose(ours.log_probabilities, theirs.log_probabilities, atol=1e-4)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda e: e.trace(NETWORK, "   "), "The text is empty"),
        (lambda e: e.trace(NETWORK, "a\ud800"), "not valid Unicode"),
        (lambda e: e.trace("nothing", TEXT), "not a network that Loupe knows"),
        (lambda e: e.trace(NETWORK, TEXT, SILENCED), "no head 0 in layer 99"),
        (lambda e: e.labels(NETWORK, (10**9,)), "Token ids from 0 to 2047"),
        (lambda e: e.output_projection(NETWORK, 40), "has 4 layers"),
        (lambda e: e.unrotated(NETWORK, TEXT, NO_INTERVENTION, -1), "has 4 layers"),
        (lambda e: e.generate(NETWORK, TEXT, 1, 10_000, 1.0, 0), "leaves room for"),
        (lambda e: e.score(NETWORK, TEXT, (" ",)), "Answer 1 is empty"),
    ],
)
def test_the_pool_refuses_with_the_sentence_of_this_process(engine, ask, sentence):
    with pytest.raises(InputError, match=sentence) as there:
        ask(engine)
    with pytest.raises(InputError) as here:
        ask(HERE)
    assert (there.value.template, str(there.value)) == (here.value.template, str(here.value))


@pytest.mark.parametrize(
    ("call", "body", "status"),
    [
        ("trace", b"not json", 422),
        ("trace", b"{}", 422),
        ("trace", b'{"network": "loupe-llama", "text": 7, "intervention": {}}', 422),
        ("trace", b'{"network": "loupe-llama", "text": "x", "intervention": {"temperature": "nan"}}', 422),
        ("trace", b"x" * 5_000_000, 422),
        ("../../etc/passwd", b"{}", 404),
        ("anything", b"{}", 404),
    ],
)
def test_what_is_no_question_is_refused(pool, call, body, status):
    assert urllib3.request("POST", f"{pool}/{call}", body=body, retries=False).status == status


def test_more_than_the_queue_holds_is_turned_away_at_once(pool):
    def ask(count: int) -> int:
        question = TraceQuestion(network=NETWORK, text=f"{count} {TEXT * 20}", intervention=NO_INTERVENTION)
        body = question.model_dump_json().encode()
        return urllib3.request("POST", f"{pool}/trace", body=body, retries=False, timeout=60).status

    with ThreadPoolExecutor(48) as threads:
        found = list(threads.map(ask, range(48)))
    assert set(found) == {200, 503}
