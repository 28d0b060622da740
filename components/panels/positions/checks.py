"""What the rotary views compare themselves with, at the moment when they are looked at."""

import torch

from components.panels.positions.head import RealHead, rounding_of_scores
from components.panels.positions.settings import RotaryHead
from components.takeaway import Check
from components.traces import facts, traced_with
from components.words import _
from models.networks.interventions import Intervention
from models.networks.rotary import before_rotation
from models.numerics.comparison import largest_difference
from models.numerics.masked_softmax import masked_softmax
from models.rotary.rope import scores_by_pair


def rotation_checks(view: RotaryHead, offset: int) -> list[Check]:
    """Sums over pairs with the network's scores and weights, unrotated vectors with its projections.

    Where the text is moved by ``offset`` positions, also the network run once more on it, if it turns
    its pairs there as fast as here.
    """
    head = view.head
    checks = [*score_checks(head), *projection_checks(head)]
    moved = offset and other_frequencies(view, offset) is None
    return [*checks, shift_check(view, head, offset)] if moved else checks


def other_frequencies(view: RotaryHead, offset: int) -> int | None:
    """Where a moved text reaches positions at which the network's frequencies change, the length up to
    which they hold (LongRoPE's two lists, dynamic NTK); None where they are the same.
    """
    most = facts(view.network_name).changes_beyond
    return most if most is not None and offset and offset + view.trace.tokens_shown > most else None


def score_checks(head: RealHead) -> list[Check]:
    """Sums over the pairs with the network's raw scores, and their softmax with its weights."""
    record, rotary = head.record, head.rotary
    at = torch.arange(len(head.query))
    allowed = rounding_of_scores(record, len(at))
    total = scores_by_pair(
        head.query, head.key, at, at, rotary.frequency, rotary.layout, rotary.factor
    ).total
    sums = Check(
        _("sums over the pairs with q·k as transformers rotated them, all pairs of tokens"),
        largest_difference(total, record.raw[head.index]),
        allowed,
    )
    if record.softcap is not None:
        return [sums]
    sink = None if record.sink is None else record.sink[head.index]
    masked = (total * record.scale).masked_fill(~head.visible, -torch.inf)
    weights = masked_softmax(masked, None if sink is None else sink.reshape(1, 1)).probabilities
    softmax = Check(
        _("their softmax with the network's own attention weights"),
        largest_difference(weights, record.probabilities[head.index]),
        max(1e-5, allowed * record.scale),
    )
    return [sums, softmax]


def projection_checks(head: RealHead) -> list[Check]:
    """Vectors before rotation with the network's own projections, where their names are known."""
    record = head.record
    projected = before_rotation(record)
    if projected is None:
        return []
    own = (record.unrotated_query, record.unrotated_key)
    gap = max(largest_difference(a, b) for a, b in zip(own, projected, strict=True))
    return [Check(_("vectors before rotation with the network's own projections"), gap, 1e-4)]


def shift_check(view: RotaryHead, head: RealHead, offset: int) -> Check:
    """The network run once more with every token ``offset`` positions further on: the same scores."""
    tokens = len(head.query)
    moved = Intervention(positions=tuple(range(offset, offset + tokens)))
    there = traced_with(view.network_name, view.text, moved).layers[view.layer]
    return Check(
        _("the network's own scores with the whole text moved by {offset} positions").format(offset=offset),
        largest_difference(there.raw[head.index], head.record.raw[head.index]),
        (1 + view.layer) * rounding_of_scores(head.record, offset + tokens),
    )
