"""LoRA: rank, initialisation, scale and learning rate, and how they really trade."""

from components.page import Page
from components.panels.lora.audit import NoOpAudit
from components.panels.lora.compare import Comparison
from components.panels.lora.invariance import OneKnob
from components.panels.lora.merging import MergeAndPlacement
from components.panels.lora.real import RealNetwork
from components.panels.lora.scaling import ScaleByRank
from components.panels.lora.spectrum import Autopsy
from components.panels.lora.zero import WhyBIsZero

Page(
    "lora",
    (Comparison, WhyBIsZero, ScaleByRank, OneKnob, Autopsy, NoOpAudit, MergeAndPlacement, RealNetwork),
).show()
