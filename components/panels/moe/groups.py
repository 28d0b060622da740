"""Node-limited routing: groups, how many of them a token may use, and what is lost by it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from components.figures.moe_load import expert_grid, measure_bars, pair_matrix
from components.lesson_parts import note
from components.panels.moe.source import Seeds
from components.settings import number, one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.moe.lab import RoutingMeasures, groups_used, measure, skewed_logits
from models.moe.routers import Grouping, Routing, score_kept, sigmoid_routing

TOKENS, BLOCKS = 8_192, 64
EXPERTS = (32, 64, 128, 256)


@dataclass(frozen=True)
class NodeLimited(Seeds):
    """Groups of experts, how many of them a token may use, and what is lost by it."""

    page, name = "moe", "groups"
    experts: int = one_of(EXPERTS, 256, label=mark("Experts N"))
    groups: int = one_of((1, 2, 4, 8, 16), 8, label=mark("Groups D"), beside=True)
    chosen: int = number(1, 16, 8, label=mark("Chosen K"))
    kept: int = slider(
        1,
        lambda view: view.groups,
        lambda view: min(4, view.groups),
        1,
        whole=True,
        label=mark("Groups a token may use, M"),
    )
    skew: float = slider(
        0.0,
        2.0,
        0.3,
        label=mark("Preference for some experts"),
        help=mark("Deviation of the experts' mean logits; those of tokens have deviation 1."),
    )

    @property
    def grouping(self) -> Grouping:
        """Raises InputError where the groups hold too few experts."""
        Grouping(self.groups, self.groups).check(self.experts, self.chosen)
        return Grouping(self.groups, self.kept)

    @property
    def logits(self) -> torch.Tensor:
        return logits_of(self.experts, round(self.skew, 2), self.seed)

    def routed(self) -> tuple[Routing, torch.Tensor]:
        """The restricted routing, and the unrestricted choice of experts."""
        routing = sigmoid_routing(self.logits, self.chosen, grouping=self.grouping)
        return routing, routing.scores.topk(self.chosen, dim=-1).indices

    def stage(self) -> Stage:
        routing, free = self.routed()
        measured = measure(routing, self.groups)
        blocks = in_blocks(measured.together, BLOCKS)
        top = 4 * TOKENS * (self.chosen / self.experts) ** 2  # four times what chance would give
        together = pair_matrix(
            blocks, max(top, 1e-6), _("Expert (in blocks)"), _("tokens in common"), height=330
        )
        grid = expert_grid(measured.load.numpy(), self.groups)
        return Stage(
            [
                Plot("grid", grid, _("Load of every expert, one row for each group"), width=1.2),
                Plot("together", together, _("Tokens that two experts have in common")),
                Plot(
                    "measures",
                    measures_figure(measured, routing, free, self.groups),
                    _("All measures of this routing"),
                    width=1.2,
                ),
            ]
        )

    def below(self) -> None:
        """What every M keeps, and the comparison with transformers' router."""
        note(self, "groups")
        routing, free = self.routed()
        rows = by_kept(self, free)
        st.dataframe(rows, hide_index=True)
        checked_against([Check("transformers DeepseekV3TopkRouter", difference(self), 1e-6)])
        take_with_you(
            self,
            lambda: rows.set_index("M"),
            lambda: expert_grid(measure(routing, self.groups).load.numpy(), self.groups),
            snippet(self.experts, self.chosen, round(self.skew, 2), self.seed, self.grouping),
        )


@lru_cache(maxsize=4)  # M does not move them
def logits_of(experts: int, skew: float, seed: int) -> torch.Tensor:
    return skewed_logits(TOKENS, experts, skew, seed)


def in_blocks(together: torch.Tensor, most: int) -> np.ndarray:
    """A matrix over experts as means over blocks, without the diagonal."""
    size = max(1, len(together) // most)
    count = len(together) // size
    off = together.fill_diagonal_(0)
    return off.view(count, size, count, size).mean((1, 3)).numpy()


def measures_figure(found: RoutingMeasures, routing: Routing, free: torch.Tensor, groups: int) -> go.Figure:
    experts, chosen = routing.experts, routing.chosen.shape[1]
    kept = float(score_kept(routing.scores, routing.chosen, free))
    used = groups_used(routing, groups)
    rows = {
        _("score kept"): (kept, f"{kept:.2%}"),
        _("groups per token"): (used / min(groups, chosen), f"{used:.2f}"),
        _("MaxVio, experts"): (
            found.max_violation / max(1e-9, experts / chosen - 1),
            f"{found.max_violation:.3f}",
        ),
        _("MaxVio, groups"): (found.group_violation / max(1, groups - 1), f"{found.group_violation:.3f}"),
        _("effective experts"): (found.effective_experts / experts, f"{found.effective_experts:.1f}"),
        _("variation of load"): (found.variation / experts**0.5, f"{found.variation:.3f}"),
        _("Σ f·P (1 at balance)"): (found.loss / (experts / chosen), f"{found.loss:.3f}"),
    }
    return measure_bars(
        [share for share, _text in rows.values()], list(rows), [text for _s, text in rows.values()]
    )


def by_kept(view: NodeLimited, free: torch.Tensor) -> pd.DataFrame:
    """Score kept, groups used and balance for every M that holds enough experts."""
    experts, groups, chosen, logits = view.experts, view.groups, view.chosen, view.logits
    rows = []
    for kept in range(1, groups + 1):
        if kept * (experts // groups) < chosen:
            continue
        routing = sigmoid_routing(logits, chosen, grouping=Grouping(groups, kept))
        found = measure(routing, groups)
        rows.append(
            {
                "M": kept,
                _("score kept"): f"{float(score_kept(routing.scores, routing.chosen, free)):.3%}",
                _("groups per token"): f"{groups_used(routing, groups):.2f}",
                _("MaxVio, experts"): f"{found.max_violation:.3f}",
                _("MaxVio, groups"): f"{found.group_violation:.3f}",
                _("effective experts"): f"{found.effective_experts:.1f}",
            }
        )
    return pd.DataFrame(rows)


def difference(view: NodeLimited) -> float:
    """Largest difference of weights on 256 of the tokens; infinite where another expert is chosen."""
    experts, chosen, grouping, logits = view.experts, view.chosen, view.grouping, view.logits[:256]
    config = DeepseekV3Config(
        hidden_size=experts,
        n_routed_experts=experts,
        num_experts_per_tok=chosen,
        n_group=grouping.groups,
        topk_group=grouping.kept,
        routed_scaling_factor=1.0,
    )
    router = DeepseekV3TopkRouter(config)
    with torch.no_grad():
        router.weight.copy_(torch.eye(experts))  # the tokens are their own logits
        _logits, weights, indices = router(logits)
    theirs = torch.zeros_like(logits).scatter(1, indices, weights)
    ours = sigmoid_routing(logits, chosen, grouping=grouping)
    mine = torch.zeros_like(logits).scatter(1, ours.chosen, ours.weights)
    return float((mine - theirs).abs().max()) if torch.equal(mine > 0, theirs > 0) else float("inf")


def snippet(experts: int, chosen: int, skew: float, seed: int, grouping: Grouping) -> str:
    """Python that repeats the numbers of the row of this M."""
    return f"""from models.moe.routers import Grouping, score_kept, sigmoid_routing
from models.moe.lab import measure, skewed_logits

logits = skewed_logits({TOKENS}, {experts}, {skew}, seed={seed})
free = sigmoid_routing(logits, {chosen})
routing = sigmoid_routing(logits, {chosen}, grouping={grouping!r})
print(score_kept(routing.scores, routing.chosen, free.chosen))
print(measure(routing, {grouping.groups}).max_violation)
"""
