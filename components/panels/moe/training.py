"""Live training of a small mixture-of-experts layer, whose balancing can be turned while it runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from threading import Lock

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import work
from components.figures.moe import curves_over_time, load_over_time
from components.figures.style import pale
from components.lesson_parts import note
from components.settings import View, flag, number, one_of, slider
from components.stage import Block, Plot, Row, Stage, show
from components.takeaway import take_with_you
from components.words import _, mark
from models.moe.layer_training import (
    BALANCINGS,
    ROUTERS,
    STEPS,
    Balancing,
    Knobs,
    LayerSettings,
    LayerTraining,
    Outcome,
    Router,
    Step,
)

LENGTHS = (STEPS, 4 * STEPS, 16 * STEPS)
COLUMNS, POINTS = 100, 400  # of the heatmap, and of a curve
TOP_VIOLATION = 7.0  # collapse of 16 experts with 2 chosen
_one_at_a_time = Lock()


@dataclass
class Turned:
    """The knobs as they stand, where the thread of a run can read them."""

    knobs: Knobs


def balancing_name(balancing: Balancing) -> str:
    return {
        "none": _("none"),
        "loss": _("auxiliary loss α"),
        "sequence": _("loss by sequence α"),
        "device": _("loss by device α"),
        "sign": _("bias, by sign"),
        "proportional": _("bias, proportional"),
    }[balancing]


def router_name(router: Router) -> str:
    return {
        "sigmoid": _("sigmoid, top K"),
        "softmax": _("softmax, top K"),
        "expert_choice": _("expert choice"),
        "hash": _("hash (learns nothing)"),
    }[router]


def acts_on(*balancings: Balancing) -> Callable[["TrainLayer"], str]:
    """Why a knob does nothing now; empty where it acts."""
    return lambda view: "" if view.balancing in balancings else mark("Acts with another balancing only.")


def has_balancing(view: "TrainLayer") -> str:
    return "" if view.router in ("sigmoid", "softmax") else mark("This router leaves nothing to balance.")


@dataclass(frozen=True)
class TrainLayer(View):
    """A small mixture-of-experts layer trained live, whose balancing can be turned while it runs."""

    page, name = "moe", "train"
    push: float = slider(
        0.0,
        8.0,
        0.0,
        0.1,
        live=False,
        label=mark("Push towards expert 0"),
        help=mark("Added to its logit: a disturbance. At 8 nearly every token goes there."),
    )
    gamma: float = slider(
        1e-4,
        1.0,
        0.01,
        1e-5,
        log=True,
        live=False,
        label=mark("Bias update rate γ"),
        help=mark("Used with the bias only."),
        off=acts_on("sign", "proportional"),
    )
    alpha: float = slider(
        1e-3,
        10.0,
        0.1,
        1e-4,
        log=True,
        live=False,
        label=mark("Weight α of the loss"),
        help=mark("Used with one of the three auxiliary losses only."),
        off=acts_on("loss", "sequence", "device"),
    )
    z_weight: float = slider(
        0.0,
        0.1,
        0.0,
        0.001,
        live=False,
        label=mark("Weight of the z-loss"),
        help=mark("Holds the router's logits small, and balances nothing."),
        place="more",
    )
    router: Router = one_of(
        ROUTERS,
        "sigmoid",
        label=mark("Router"),
        label_of=router_name,
        help=mark(
            "Experts that choose their tokens, and a hash of the token, leave nothing to balance: "
            "there neither a loss nor the bias does anything."
        ),
    )
    balancing: Balancing = one_of(
        BALANCINGS, "sign", label=mark("Balancing"), label_of=balancing_name, off=has_balancing
    )
    frozen: bool = flag(
        label=mark("Freeze the bias (γ = 0)"),
        help=mark("The bias stays as it is; DeepSeek-V3 ends its training so."),
    )
    steps: int = one_of(
        LENGTHS,
        label=mark("Steps"),
        label_of="{:,}".format,
        place="more",
        help=mark("A longer run leaves time to turn knobs."),
    )
    run_seed: int = number(0, 9_999, 0, label=mark("Seed"), place="more")

    @property
    def knobs(self) -> Knobs:
        return Knobs(
            self.balancing, self.alpha, self.gamma, self.frozen, self.push, self.router, self.z_weight
        )

    def run(self) -> work.Run[Step | Outcome]:
        """The session's run of this length and seed; it reads the knobs before every step."""
        settings, count, turned = LayerSettings(seed=self.run_seed), self.steps, turned_of_session()
        turned.knobs = self.knobs
        return work.run(
            "moe_layer",
            (count, settings),
            lambda: LayerTraining(settings).run(lambda: turned.knobs, count),
            count,
            done=lambda last: last.step if isinstance(last, Step) else count,
        )

    def stage(self) -> Stage:
        return Stage(Block(self.draw_run))

    def draw_run(self) -> None:
        work.stage(self.run(), partial(draw, self), recorded=self.recorded)

    def recorded(self) -> Sequence[Step | Outcome]:
        return finished(LayerSettings(seed=self.run_seed), self.knobs)

    def below(self) -> None:
        """What came of the run, and what to take along."""
        note(self, "training")
        run = self.run()
        seen, total = (self.recorded(), STEPS) if run.is_idle else (run.results, self.steps)
        say(seen)
        steps = steps_of(seen)
        if steps:
            take_with_you(
                self,
                lambda: step_table(steps),
                lambda: load_figure(steps, total),
                snippet(steps[-1].knobs, self.run_seed, total),
            )


def turned_of_session() -> Turned:
    """The knobs as this session has them, for the thread of its run."""
    return st.session_state.setdefault("moe_turned", Turned(Knobs()))


def steps_of(seen: Sequence[Step | Outcome]) -> list[Step]:
    return [step for step in seen if isinstance(step, Step)]


@st.cache_resource(max_entries=16, show_spinner=False)
def finished(settings: LayerSettings, knobs: Knobs) -> Sequence[Step | Outcome]:
    """A whole run with knobs that stay: what a page shows before anybody starts one."""
    with _one_at_a_time:
        return list(LayerTraining(settings).run(lambda: knobs))


def draw(view: TrainLayer, seen: Sequence[Step | Outcome], *, faint: bool = False) -> None:
    """Load, MaxVio and loss over the steps so far, on axes that stay; a recorded run has STEPS steps."""
    steps, total = steps_of(seen), STEPS if faint else view.steps
    every = total // POINTS
    violation = np.array([step.max_violation for step in steps[::every]], np.float32)
    loss = np.array([step.loss for step in steps[::every]], np.float32)
    turned = [late.step for early, late in pairwise(steps) if early.knobs != late.knobs]
    top = max(2.0, min(TOP_VIOLATION, float(violation.max()) * 1.05)) if len(violation) else 1.0
    said = _("MaxVio of the batch")
    over = curves_over_time({said: violation}, every, total, said, top=top, turned=turned)
    task = curves_over_time(
        {_("loss of the task"): loss},
        every,
        total,
        _("Loss, as a share of that of answering 0"),
        1.2,
        turned,
    )
    load = pale(load_figure(steps, total), faint)
    show(
        Stage(
            Row([Plot("load_time", load, _("Load of each expert over the training steps"))], height=1.2),
            [
                Plot("violation_time", pale(over, faint), _("MaxVio over the training steps")),
                Plot("loss_time", pale(task, faint), _("Loss over the training steps")),
            ],
            reserved=work.BUTTONS,
        ),
        view.page,
    )


def load_figure(steps: list[Step], total: int) -> go.Figure:
    """Means over so many steps, in units of the mean load; empty where the run has not come."""
    experts = len(steps[0].load) if steps else LayerSettings().experts
    table = np.full((COLUMNS, experts), np.nan, np.float32)
    every = total // COLUMNS
    whole = len(steps) // every
    if whole:
        load = np.stack([step.load.numpy() for step in steps[: whole * every]])
        table[:whole] = (load / load.mean(1, keepdims=True)).reshape(whole, every, experts).mean(1)
    return load_over_time(table, every, total)


def say(seen: Sequence[Step | Outcome]) -> None:
    """With which knobs, and what came of it on tokens that were not trained on."""
    steps = steps_of(seen)
    if not steps:
        return
    last = steps[-1].knobs
    words = _(
        "Last step {step}: {router}; {balancing}, α = {alpha}, γ = {gamma}, push {push}, "
        "weight of the z-loss {z_weight}. Mean of (log Σ exp logits)²: {z}."
    ).format(
        step=steps[-1].step,
        router=router_name(last.router),
        balancing=balancing_name(last.balancing),
        alpha=f"{last.loss_weight:.3g}",
        gamma="0" if last.frozen else f"{last.bias_rate:.3g}",
        push=f"{last.push:.1f}",
        z_weight=f"{last.z_weight:.3g}",
        z=f"{steps[-1].z:.2f}",
    )
    st.markdown(words)
    outcome = seen[-1]
    if isinstance(outcome, Outcome):
        late = float(np.mean([step.max_violation for step in steps[-100:]]))
        metrics = {
            _("MaxVio_global, on 4,096 new tokens"): f"{outcome.max_violation:.3f}",
            _("The same of 4 devices of 4 experts"): f"{outcome.device_violation:.3f}",
            _("Loss on them ÷ loss of answering 0"): f"{outcome.loss:.4f}",
            _("MaxVio of the batch, mean of the last 100"): f"{late:.3f}",
            _("New tokens that no expert took"): f"{outcome.left_out:.1%}",
        }
        for column, (label, value) in zip(st.columns(len(metrics)), metrics.items(), strict=True):
            column.metric(label, value)


def step_table(steps: list[Step]) -> pd.DataFrame:
    """A row a step: knobs, loss, MaxVio and the load of every expert."""
    rows = [
        {"step": s.step, **vars(s.knobs), "loss": s.loss, "max_violation": s.max_violation}
        | {f"load_{expert}": int(count) for expert, count in enumerate(s.load)}
        for s in steps
    ]
    return pd.DataFrame(rows).set_index("step")


def snippet(knobs: Knobs, seed: int, count: int) -> str:
    """Python that repeats a run with the last step's knobs throughout."""
    return f"""from models.moe.layer_training import Knobs, LayerSettings, LayerTraining

knobs = {knobs!r}
training = LayerTraining(LayerSettings(seed={seed}))
for step in training.steps(lambda: knobs, {count}):
    print(step.step, step.max_violation, step.loss)
print(training.outcome(knobs))
"""
