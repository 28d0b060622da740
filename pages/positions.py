"""Positions: how a network knows which token stands where, on real queries and keys."""

from components.page import Page
from components.panels.positions.compare import AllEncodings
from components.panels.positions.decay import ScoreAndDistance
from components.panels.positions.encode import AddedVectors
from components.panels.positions.layout import LayoutConfusion
from components.panels.positions.rotate import RotaryMicroscope
from components.panels.positions.shuffle import WhyPositions

Page(
    "positions",
    (WhyPositions, AddedVectors, RotaryMicroscope, ScoreAndDistance, LayoutConfusion, AllEncodings),
).show()
