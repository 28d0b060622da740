"""Optimizers: what each step consists of, and what it does on surfaces, matrices and a network."""

from components.page import Page
from components.panels.optimizers.basin import learning_rate_basin
from components.panels.optimizers.decay import weight_decay
from components.panels.optimizers.depth import norm_and_depth
from components.panels.optimizers.first_steps import bias_correction
from components.panels.optimizers.matrices import matrices
from components.panels.optimizers.momentum import momentum_on_quadratics
from components.panels.optimizers.paths import paths
from components.panels.optimizers.rotation import rotation
from components.panels.optimizers.setup import defaults
from components.panels.optimizers.training import training
from components.refusal import refusals
from components.words import _
from components.work.running import forget_running

DEFAULTS = {
    "optimizers_view": "paths",
    "optimizers_surface": "rosenbrock",
    "optimizers_formula": "sin(x)*cos(y) + (x^2 + y^2)/20",
    "optimizers_start": "",
    "optimizers_steps": 200,
    "optimizers_rates": "own",
    "optimizers_chosen": ["sgd", "momentum", "rmsprop", "adam"],
    "optimizers_condition": 20.0,
    "optimizers_degrees": 0.0,
    "optimizers_schedule": "constant",
    "optimizers_warmup": 0,
    "optimizers_noise": 0.0,
    "optimizers_clip": 0.0,
    "optimizers_seed": 0,
    "optimizers_tune": "adam",
    "optimizers_step": 20,
    "optimizers_compare": "torch",
    "optimizers_kappa": 30.0,
    "optimizers_angle": 45.0,
    "optimizers_b1": 0.9,
    "optimizers_b2": 0.999,
    "optimizers_mean": 1.0,
    "optimizers_relative": 0.0,
    "optimizers_warm": 10.0,
    "optimizers_lambda": 0.1,
    "optimizers_decay_rate": 1e-3,
    "optimizers_large": 10.0,
    "optimizers_small": 0.1,
    "optimizers_curves": 20.0,
    "optimizers_alpha": 0.25,
    "optimizers_beta": 0.6,
    "optimizers_rows": 8,
    "optimizers_columns": 8,
    "optimizers_spread": 30.0,
    "optimizers_inputs": "turned",
    "optimizers_matrix_step": 20.0,
    "optimizers_trained": "adam",
    "optimizers_training_rate": 3e-3,
    "optimizers_norm": "pre",
    "optimizers_layers": 2,
    "optimizers_training_steps": 200,
    "optimizers_training_schedule": "constant",
    "optimizers_training_warmup": 0,
    "optimizers_batches": "fresh",
    "optimizers_depth": 8.0,
    "optimizers_depth_rate": 3e-3,
    **defaults(),
}
KEPT: frozenset[str] = frozenset()
VIEWS = {
    "paths": paths,
    "basin": learning_rate_basin,
    "rotation": rotation,
    "first": bias_correction,
    "decay": weight_decay,
    "momentum": momentum_on_quadratics,
    "matrices": matrices,
    "training": training,
    "depth": norm_and_depth,
}


def view_label(view: str) -> str:
    return {
        "paths": _("Paths and steps"),
        "basin": _("Learning rates"),
        "rotation": _("Rotation"),
        "first": _("First steps"),
        "decay": _("Weight decay"),
        "momentum": _("Momentum"),
        "matrices": _("Matrices"),
        "training": _("A network"),
        "depth": _("Norm and depth"),
    }[view]


page = Page("optimizers", DEFAULTS, KEPT)
page.head()
forget_running(page)
view = page.view(VIEWS, view_label)
with refusals():
    VIEWS[view](page)
page.questions()
