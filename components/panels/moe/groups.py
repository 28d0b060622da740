"""Node-limited routing: groups, how many of them a token may use, and what is lost by it."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from transformers import DeepseekV3Config
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from components.controls import choose, whole_number
from components.figures.moe_load import expert_grid, measure_bars, pair_matrix
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
from models.moe.lab import RoutingMeasures, groups_used, measure, skewed_logits
from models.moe.routers import Grouping, Routing, score_kept, sigmoid_routing

TOKENS, BLOCKS = 8_192, 64
EXPERTS = (32, 64, 128, 256)
LIVE = ("live_groups",)
SETTLED = (*LIVE, "groups_said")


@panel
def node_limited(page: Page) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        experts = choose(
            _("Experts N"), EXPERTS, f"{page.name}_experts", str, default=256, style="segments"
        )
        groups = choose(
            _("Groups D"), (1, 2, 4, 8, 16), f"{page.name}_groups", str, default=8, style="segments"
        )
        whole_number(_("Chosen K"), 1, 16, f"{page.name}_chosen", 8, width=120)
        whole_number(_("Seed"), 0, 9_999, f"{page.name}_seed", 0, width=120)
    left, right = st.columns(2, gap="medium")
    with left:
        live_slider(
            _("Groups a token may use, M"), f"{page.name}_kept", 1, groups, min(4, groups), 1,
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
    with right:
        live_slider(
            _("Preference for some experts"), f"{page.name}_skew", 0.0, 2.0, 0.3, 0.01,
            help=_("Deviation of the experts' mean logits; those of tokens have deviation 1."),
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
    chosen = st.session_state[f"{page.name}_chosen"]
    Grouping(groups, groups).check(experts, chosen)
    live_groups(page, experts, groups)
    groups_said(page, experts, groups)


def routed_now(page: Page, experts: int, groups: int) -> tuple[Routing, torch.Tensor, Grouping]:
    """The restricted routing, and the unrestricted choice of experts.

    Raises InputError where the groups hold too few experts.
    """
    state = st.session_state
    chosen, seed = state[f"{page.name}_chosen"], state[f"{page.name}_seed"]
    skew = round(state.get(f"{page.name}_skew", 0.3), 2)
    kept = min(groups, max(1, round(state.get(f"{page.name}_kept", 4))))
    grouping = Grouping(groups, kept)
    logits = skewed_logits(TOKENS, experts, skew, seed)
    routing = sigmoid_routing(logits, chosen, grouping=grouping)
    return routing, routing.scores.topk(chosen, dim=-1).indices, grouping


@live_panel
def live_groups(page: Page, experts: int, groups: int) -> None:
    routing, free, _grouping = routed_now(page, experts, groups)
    found = measure(routing, groups)
    left, middle, right = st.columns([4, 3, 4], gap="medium")
    with left:
        figure = expert_grid(found.load.numpy(), groups)
        live_figure(figure, f"{page.name}_grid", _("Load of every expert, one row for each group"))
    with middle:
        blocks = in_blocks(found.together, BLOCKS)
        top = 4 * TOKENS * (routing.chosen.shape[1] / experts) ** 2  # four times what chance would give
        live_figure(
            pair_matrix(blocks, max(top, 1e-6), _("Expert (in blocks)"), _("tokens in common"), height=330),
            f"{page.name}_together",
            _("Tokens that two experts have in common"),
        )
    with right:
        live_figure(
            measures_figure(found, routing, free, groups),
            f"{page.name}_measures",
            _("All measures of this routing"),
        )


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


@panel
def groups_said(page: Page, experts: int, groups: int) -> None:
    """What every M keeps, and the comparison with transformers' router."""
    routing, free, grouping = routed_now(page, experts, groups)
    page.note("groups")
    rows = by_kept(page, experts, groups, free)
    st.dataframe(rows, hide_index=True)
    checked_against([Check("transformers DeepseekV3TopkRouter", difference(page, experts, grouping), 1e-6)])
    figure = expert_grid(measure(routing, groups).load.numpy(), groups)
    take_with_you(f"{page.name}_groups", lambda: rows, lambda: figure, snippet(page, experts, grouping))


def by_kept(page: Page, experts: int, groups: int, free: torch.Tensor) -> pd.DataFrame:
    """Score kept, groups used and balance for every M that holds enough experts."""
    chosen = free.shape[1]
    skew = round(st.session_state.get(f"{page.name}_skew", 0.3), 2)
    logits = skewed_logits(TOKENS, experts, skew, st.session_state[f"{page.name}_seed"])
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


def difference(page: Page, experts: int, grouping: Grouping) -> float:
    """Largest difference of weights on 256 of the tokens; infinite where another expert is chosen."""
    chosen = st.session_state[f"{page.name}_chosen"]
    skew = round(st.session_state.get(f"{page.name}_skew", 0.3), 2)
    logits = skewed_logits(TOKENS, experts, skew, st.session_state[f"{page.name}_seed"])[:256]
    config = DeepseekV3Config(
        hidden_size=experts, n_routed_experts=experts, num_experts_per_tok=chosen,
        n_group=grouping.groups, topk_group=grouping.kept, routed_scaling_factor=1.0,
    )  # fmt: skip
    router = DeepseekV3TopkRouter(config)
    with torch.no_grad():
        router.weight.copy_(torch.eye(experts))  # the tokens are their own logits
        _logits, weights, indices = router(logits)
    theirs = torch.zeros_like(logits).scatter(1, indices, weights)
    ours = sigmoid_routing(logits, chosen, grouping=grouping)
    mine = torch.zeros_like(logits).scatter(1, ours.chosen, ours.weights)
    return float((mine - theirs).abs().max()) if torch.equal(mine > 0, theirs > 0) else float("inf")


def snippet(page: Page, experts: int, grouping: Grouping) -> str:
    """Python that repeats the numbers of the row of this M."""
    state = st.session_state
    skew = round(state.get(f"{page.name}_skew", 0.3), 2)
    chosen, seed = state[f"{page.name}_chosen"], state[f"{page.name}_seed"]
    return f"""from models.moe.routers import Grouping, score_kept, sigmoid_routing
from models.moe.lab import measure, skewed_logits

logits = skewed_logits({TOKENS}, {experts}, {skew}, seed={seed})
free = sigmoid_routing(logits, {chosen})
routing = sigmoid_routing(logits, {chosen}, grouping={grouping!r})
print(score_kept(routing.scores, routing.chosen, free.chosen))
print(measure(routing, {grouping.groups}).max_violation)
"""
