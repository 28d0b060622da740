"""Long context: what breaks past the trained length, and what each way to scale RoPE does about it."""

from components.page import Page
from components.panels.context.config import YourConfig
from components.panels.context.distance import FarAway
from components.panels.context.frequencies import Frequencies
from components.panels.context.loss import LossByPosition
from components.panels.context.needle import Needle

Page("context", (LossByPosition, Frequencies, FarAway, Needle, YourConfig)).show()
