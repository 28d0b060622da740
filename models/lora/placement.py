"""Where the methods of parameter-efficient fine-tuning put their parameters, and how many those are.

LoRA lies beside matrices (and can be merged into them); bottleneck adapters lie in series behind a
sub-layer (Houlsby et al. 2019: down-projection, then up-projection); prefix tuning adds keys and values
to every layer (Li & Liang 2021); prompt tuning adds rows to the embedded input (Lester et al. 2021);
P-tuning adds such rows too and makes them with a small network (Liu et al. 2021). Counts follow peft 0.21.
"""

from dataclasses import dataclass

from models.errors import InputError
from models.lora.adapter import parameter_count

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
TARGETS = (*ATTENTION, *MLP)


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-like network."""

    width: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    mlp_width: int
    vocabulary: int

    def matrix(self, target: str) -> tuple[int, int]:
        """(out, in) of one layer's matrix. Raises InputError on a name that is none of TARGETS."""
        query, key = self.heads * self.head_width, self.key_heads * self.head_width
        shapes = {
            "q_proj": (query, self.width),
            "k_proj": (key, self.width),
            "v_proj": (key, self.width),
            "o_proj": (self.width, query),
            "gate_proj": (self.mlp_width, self.width),
            "up_proj": (self.mlp_width, self.width),
            "down_proj": (self.width, self.mlp_width),
        }
        if target not in shapes:
            raise InputError("There is no matrix called {target}.", target=target)
        return shapes[target]

    @property
    def parameters(self) -> int:
        """All numbers of the network: matrices, norms and an embedding that is tied to the output."""
        matrices = sum(out * into for out, into in map(self.matrix, TARGETS))
        return self.layers * (matrices + 2 * self.width) + self.width + self.vocabulary * self.width


def lora_count(shape: Shape, targets: tuple[str, ...], rank: int, dora: bool = False) -> int:
    """r·(in + out) for each target in each layer. Raises InputError without targets."""
    check_targets(targets)
    return shape.layers * sum(parameter_count(*shape.matrix(name), rank, dora) for name in targets)


def check_targets(targets: tuple[str, ...]) -> None:
    """Raises InputError where nothing is chosen that an adapter could be put on."""
    if not targets:
        raise InputError("No matrix is chosen; an adapter needs at least one of Q, K, V, O or the MLP's.")


def adapter_count(shape: Shape, bottleneck: int, per_layer: int = 2) -> int:
    """Down- and up-projection with biases, behind attention and behind the MLP (Houlsby)."""
    _at_least_one(bottleneck)
    return shape.layers * per_layer * (2 * shape.width * bottleneck + bottleneck + shape.width)


def prefix_count(shape: Shape, tokens: int) -> int:
    """A key and a value for every virtual token in every layer; no reparametrisation."""
    _at_least_one(tokens)
    return shape.layers * 2 * tokens * shape.key_heads * shape.head_width


def prompt_count(shape: Shape, tokens: int) -> int:
    """One row of the embedding's width for each virtual token, in front of the input only."""
    _at_least_one(tokens)
    return tokens * shape.width


def p_tuning_count(shape: Shape, tokens: int) -> int:
    """The rows of prompt tuning and the MLP of three layers that makes them, which goes after training."""
    return prompt_count(shape, tokens) + 3 * (shape.width**2 + shape.width)


def _at_least_one(size: int) -> None:
    if size < 1:
        raise InputError("{size} is not possible; there must be at least one.", size=size)
