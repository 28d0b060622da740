"""Optimizers: what each step consists of, and what it does on surfaces, matrices and a network."""

from components.page import Page
from components.panels.optimizers.basin import LearningRateBasin
from components.panels.optimizers.decay import WeightDecay
from components.panels.optimizers.depth import NormAndDepth
from components.panels.optimizers.first_steps import FirstSteps
from components.panels.optimizers.matrices import Matrices
from components.panels.optimizers.momentum import Momentum
from components.panels.optimizers.paths import Paths
from components.panels.optimizers.rotation import Rotation
from components.panels.optimizers.training import TrainsNetwork

Page(
    "optimizers",
    (
        Paths,
        LearningRateBasin,
        Rotation,
        FirstSteps,
        WeightDecay,
        Momentum,
        Matrices,
        TrainsNetwork,
        NormAndDepth,
    ),
).show()
