"""Attention: which earlier tokens each token reads from, in a real network."""

from components.page import Page
from components.panels.attention.depth import EntropyAndRank
from components.panels.attention.find import HeadFinder
from components.panels.attention.look import HeadsAtWork
from components.panels.attention.scale import WhyScale
from components.panels.attention.sharing import WhoReadsWhichKey
from components.panels.attention.softmax import SoftmaxItself

Page(
    "attention", (HeadsAtWork, HeadFinder, EntropyAndRank, WhyScale, SoftmaxItself, WhoReadsWhichKey)
).show()
