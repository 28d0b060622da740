"""models.numerics.seeded: torch.manual_seed alone in a process, and threads that disturb each other."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from torch import nn

from models.lora.audit import _config as peft_config
from models.lora.audit import examine, get_peft_seeded, tiny_network
from models.masks.padding import learned_positions_network
from models.numerics.seeded import Seeded
from models.optimizers.training_lab import Training, network

ROOT = Path(__file__).parents[3]
DRAWS = {
    "randn": lambda: torch.randn(3, 5),
    "rand": lambda: torch.rand(2, 2, dtype=torch.float64),
    "randint": lambda: torch.randint(5, (40,)),
    "randint from": lambda: torch.randint(2, 9, (40,)),
    "randperm": lambda: torch.randperm(50),
    "normal": lambda: torch.normal(1.0, 2.0, (9,)),
    "normal of means": lambda: torch.normal(torch.arange(9.0), 2.0),
    "randn_like": lambda: torch.randn_like(torch.ones(7)),
    "rand_like": lambda: torch.rand_like(torch.ones(7)),
    "randint_like": lambda: torch.randint_like(torch.ones(30), 4),
    "bernoulli": lambda: torch.bernoulli(torch.full((30,), 0.4)),
    "multinomial": lambda: torch.multinomial(torch.ones(30), 9),
    "exponential_": lambda: torch.empty(9).exponential_(),
    "dropout": lambda: nn.functional.dropout(torch.ones(60), 0.5),
    "kaiming": lambda: nn.init.kaiming_uniform_(torch.empty(4, 6)),
    "trunc_normal": lambda: nn.init.trunc_normal_(torch.empty(40)),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(4, 4)),
    "linear": lambda: nn.Linear(5, 7).weight.detach(),
    "svd_lowrank": lambda: torch.svd_lowrank(torch.arange(60.0).view(6, 10), 2)[1],
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_those_of_manual_seed_and_leave_the_global_generator_alone(name):
    with torch.random.fork_rng():
        torch.manual_seed(11)
        expected = DRAWS[name](), DRAWS[name]()
        before = torch.random.get_rng_state()
        with Seeded(11):
            drawn = DRAWS[name](), DRAWS[name]()
        assert torch.equal(before, torch.random.get_rng_state())
    assert all(map(torch.equal, drawn, expected))


def test_a_generator_that_is_given_is_kept_and_other_devices_are_left_alone():
    with Seeded(1):
        given = torch.randn(3, generator=torch.Generator().manual_seed(2))
        assert nn.Linear(2, 2, device="meta").weight.is_meta
        after = torch.randn(3)
    assert torch.equal(given, torch.randn(3, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(after, torch.randn(3, generator=torch.Generator().manual_seed(1)))


BUILDS = {
    "audit": tiny_network,
    "padding": lambda: learned_positions_network(40, 16, 3),
    "training": lambda: network(Training("sgd", 0.5, layers=2, seed=3)),
    "peft": lambda: get_peft_seeded(tiny_network(), peft_config("pissa_niter_4")),
}


def built(name):
    return torch.cat([p.detach().flatten() for p in BUILDS[name]().parameters()])


@pytest.fixture
def another_at_work():
    """Somebody draws from the global generator and seeds it all the time."""
    end = Event()

    def work():
        while not end.is_set():
            torch.manual_seed(5)
            torch.randn(100)

    with torch.random.fork_rng():
        thread = Thread(target=work)
        thread.start()
        yield
        end.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_four_threads_build_the_same_network_bit_by_bit(name, another_at_work):
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(built, [name] * 40))
    assert all(torch.equal(drawn[0], other) for other in drawn)


@pytest.mark.slow
def test_an_audit_comes_to_the_same_beside_others(another_at_work):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _n: (examine("eva", False), examine("lora_ga", False)), range(12)))
    assert all(pair == found[0] for pair in found)
    assert all(finding.fell_back for finding in found[0])


@pytest.mark.slow
def test_nothing_that_serves_sessions_touches_the_global_generator():
    """Its users would be each other's: manual_seed, fork_rng and the like are for scripts alone."""
    refused = {"manual_seed", "fork_rng", "set_rng_state", "seed", "set_seed", "seed_all"}
    seen = []
    for folder in ("models", "components", "pages"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "training" in path.relative_to(ROOT).parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                owner = ast.unparse(node.func.value)
                if node.func.attr in refused and owner in ("torch", "torch.random", "np.random", "random"):
                    seen.append(f"{path.name}: {ast.unparse(node)}")
    assert seen == []
