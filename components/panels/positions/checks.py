"""What the rotary views compare themselves with, at the moment when they are looked at."""

import torch

from components.page import Check
from components.panels.network.selection import Selection
from components.panels.network.text import Choice
from components.panels.positions.head import RealHead, rounding_of_scores
from components.traces import traced_with
from components.words import _
from models.networks.interventions import Intervention
from models.networks.rotary import before_rotation
from models.numerics.comparison import largest_difference
from models.numerics.masked_softmax import masked_softmax
from models.rotary.rope import scores_by_pair


def rotation_checks(choice: Choice, selection: Selection, head: RealHead, offset: int) -> list[Check]:
    """Sums over pairs with the network's scores and weights, unrotated vectors with its projections."""
    record, rotary = head.record, head.rotary
    at = torch.arange(len(head.query))
    allowed = rounding_of_scores(record, len(at))
    total = scores_by_pair(
        head.query, head.key, at, at, rotary.frequency, rotary.layout, rotary.factor
    ).total
    weights = masked_softmax((total * record.scale).masked_fill(~head.visible, -torch.inf)).probabilities
    checks = [
        Check(
            _("sums over the pairs with q·k as transformers rotated them, all pairs of tokens"),
            largest_difference(total, record.raw[head.head]),
            allowed,
        )
    ]
    if record.softcap is None:
        checks.append(
            Check(
                _("their softmax with the network's own attention weights"),
                largest_difference(weights, record.probabilities[head.head]),
                max(1e-5, allowed * record.scale),
            )
        )
    if (projected := before_rotation(record)) is not None:
        own = (record.unrotated_query, record.unrotated_key)
        checks.append(
            Check(
                _("vectors before rotation with the network's own projections"),
                max(largest_difference(a, b) for a, b in zip(own, projected, strict=True)),
                1e-4,
            )
        )
    if offset:
        checks.append(shift_check(choice, selection, head, offset))
    return checks


def shift_check(choice: Choice, selection: Selection, head: RealHead, offset: int) -> Check:
    """The network run once more with every token ``offset`` positions further on: the same scores."""
    tokens = len(head.query)
    moved = Intervention(positions=tuple(range(offset, offset + tokens)))
    there = traced_with(choice.network, choice.text, moved).layers[selection.layer]
    return Check(
        _("the network's own scores with the whole text moved by {offset} positions").format(offset=offset),
        largest_difference(there.raw[head.head], head.record.raw[head.head]),
        (1 + selection.layer) * rounding_of_scores(head.record, offset + tokens),
    )
