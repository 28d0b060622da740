"""A needle in a haystack for a network that copies: keys and values of random tokens.

Kamradt 2023 hides a sentence in essays and asks about it, which takes a network that answers
questions. Here a needle is a few random key tokens and one value token, hidden among other random
tokens; at the end the key stands once more, and the network should go on with the value, as an
induction head does (Olsson et al. 2022). One text holds a needle at every depth, and asks for all.
"""

import math
import random
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.context.long_context import LONGEST_TEXT, Way, long_logits
from models.errors import InputError
from models.networks.loading import load

KEY_TOKENS = 4
BATCH = 8


@dataclass(frozen=True)
class Haystack:
    """What is asked: texts of ``length`` tokens with needles at ``depths`` depths, ``trials`` texts.

    Raises InputError where the needles and questions do not fit, or a number is below 1.
    """

    length: int
    depths: int = 5
    trials: int = 16
    seed: int = 0

    def __post_init__(self):
        if min(self.depths, self.trials) < 1 or self.seed < 0:
            raise InputError("At least one depth, one trial and a seed of 0 or more are needed.")
        if self.length > LONGEST_TEXT or self.filler < self.depths:
            raise InputError(
                "{depths} needles do not fit a text of {length} tokens; from {least} to {most} do.",
                depths=self.depths,
                length=self.length,
                least=1 + self.depths * (2 * (KEY_TOKENS + 1) + 1),
                most=LONGEST_TEXT,
            )

    @property
    def filler(self) -> int:
        """Random tokens around the needles: what the start token, needles and questions leave."""
        return self.length - 1 - 2 * self.depths * (KEY_TOKENS + 1)

    @property
    def asked_at(self) -> Int[Tensor, " question"]:
        """Positions of the last key token of each question."""
        first = self.length - self.depths * (KEY_TOKENS + 1)
        return first + torch.arange(self.depths) * (KEY_TOKENS + 1) + KEY_TOKENS - 1


@dataclass(frozen=True, eq=False)
class HiddenNeedles:
    """Texts, and for each question the depth that it asks for and the value that it should give."""

    tokens: Int[Tensor, "trial token"]
    depth: Int[Tensor, "trial question"]  # 0 is the beginning of the text
    value: Int[Tensor, "trial question"]


@dataclass(frozen=True, eq=False)
class Retrieval:
    """How often a question was answered, by depth, as shares of the trials."""

    best_of_all: Float[Tensor, " depth"]  # the value is the likeliest token of the vocabulary
    best_of_values: Float[Tensor, " depth"]  # it is the likeliest of the values that the text holds
    probability: Float[Tensor, " depth"]  # mean probability of the value
    trials: int


def hide(haystack: Haystack, vocabulary: range, start_token: int, hidden: bool = True) -> HiddenNeedles:
    """Texts with needles; with ``hidden`` False other random tokens stand in their places.

    A text without its needles asks the same questions: what is answered there is luck.
    """
    chance = random.Random(haystack.seed)
    texts, depths, values = [], [], []
    for _trial in range(haystack.trials):
        drawn = chance.sample(vocabulary, 2 * haystack.depths * (KEY_TOKENS + 1))
        needles = [drawn[i : i + KEY_TOKENS + 1] for i in range(0, len(drawn), KEY_TOKENS + 1)]
        asked, others = needles[: haystack.depths], needles[haystack.depths :]
        placed = asked if hidden else others
        filler = [chance.choice(vocabulary) for _ in range(haystack.filler)]
        text, before = [start_token], 0
        for number, needle in enumerate(placed):
            cut = round((number + 0.5) / haystack.depths * len(filler))
            text += filler[before:cut] + needle
            before = cut
        order = chance.sample(range(haystack.depths), haystack.depths)
        text += filler[before:]
        for number in order:  # each question: a key, and a random token where the answer would stand
            text += [*asked[number][:KEY_TOKENS], chance.choice(vocabulary)]
        texts.append(text)
        depths.append(order)
        values.append([asked[n][KEY_TOKENS] for n in order])
    return HiddenNeedles(torch.tensor(texts), torch.tensor(depths), torch.tensor(values))


def value_tokens(vocabulary: int) -> range:
    """The tokens of which texts are made.

    The first ones of a byte-level vocabulary are single bytes, which seldom stand alone in text.
    """
    return range(vocabulary // 8, vocabulary)


def retrieve(network: str, way: Way, haystack: Haystack, hidden: bool = True) -> Retrieval:
    """Ask for every needle; ``hidden`` False is the honest baseline, a text without them."""
    loaded = load(network)
    start = loaded.tokenizer.bos_token_id or 0
    needles = hide(haystack, value_tokens(loaded.vocabulary), start, hidden)
    parts = [long_logits(network, way, tokens, haystack.asked_at) for tokens in needles.tokens.split(BATCH)]
    return score(torch.cat(parts), needles)


def score(logits: Float[Tensor, "trial question vocabulary"], needles: HiddenNeedles) -> Retrieval:
    """Count the answers by depth."""
    trials, depths = needles.value.shape
    of_all = logits.argmax(-1) == needles.value
    # Every question may choose among all values of its text.
    candidates = logits.gather(2, needles.value[:, None, :].expand(-1, depths, -1))
    of_values = candidates.argmax(-1) == torch.arange(depths)
    right = logits.softmax(-1).gather(2, needles.value[..., None])[..., 0]
    by_depth = needles.depth.argsort(1)
    parts = (of_all.float(), of_values.float(), right)
    of_all, of_values, right = (part.gather(1, by_depth).mean(0) for part in parts)
    return Retrieval(of_all, of_values, right, trials)


def wilson_interval(share: float, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The interval in which the true share lies, 95 times in 100 (Wilson 1927)."""
    if trials < 1 or not 0 <= share <= 1:
        raise InputError("A share between 0 and 1 of at least one trial is needed.")
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return (centre - spread) / scale, (centre + spread) / scale
