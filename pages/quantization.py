"""Quantization: what fewer bits do, from one number to the next token."""

from components.page import Page
from components.panels.quantization.budget import BitBudget
from components.panels.quantization.cache import KvCache
from components.panels.quantization.cascade import ToTheLoss
from components.panels.quantization.duel import EqualBits
from components.panels.quantization.gptq import Gptq
from components.panels.quantization.matrix import WeightMatrix
from components.panels.quantization.numbers import Numbers
from components.panels.quantization.outliers import Outliers
from components.panels.quantization.sensitivity import SensitivityMap
from components.panels.quantization.updates import Updates

Page(
    "quantization",
    (
        Numbers,
        Updates,
        WeightMatrix,
        EqualBits,
        Outliers,
        ToTheLoss,
        SensitivityMap,
        Gptq,
        BitBudget,
        KvCache,
    ),
).show()
