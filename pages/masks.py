"""Masks: which token may read which, and what a real network makes of another answer."""

from components.page import Page
from components.panels.masks.code import MaskAsCode
from components.panels.masks.cost import WhatItCosts
from components.panels.masks.hiding import HowToHide
from components.panels.masks.lab import MaskLab
from components.panels.masks.order import Order
from components.panels.masks.packing import PackingARow
from components.panels.masks.padding import PaddingABatch
from components.panels.masks.stream import StreamingALongText

Page(
    "masks",
    (
        MaskLab,
        PaddingABatch,
        PackingARow,
        StreamingALongText,
        HowToHide,
        Order,
        WhatItCosts,
        MaskAsCode,
    ),
).show()
