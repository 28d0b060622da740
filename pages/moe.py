"""Mixture of experts: where tokens go, and what balance costs."""

from components.page import Page
from components.panels.moe.capacity import Capacity
from components.panels.moe.duel import BalancerDuel
from components.panels.moe.groups import NodeLimited
from components.panels.moe.loss_lab import LossTested
from components.panels.moe.route import Routes
from components.panels.moe.sizes import Sizes
from components.panels.moe.specialise import Specialists
from components.panels.moe.training import TrainLayer

Page(
    "moe", (Routes, Specialists, BalancerDuel, TrainLayer, Capacity, NodeLimited, LossTested, Sizes)
).show()
