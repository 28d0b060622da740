"""Preference: DPO and its relatives, from a pair of log-probabilities to a real network."""

from components.page import Page
from components.panels.preference.calculator import Calculator
from components.panels.preference.displacement import Displacement
from components.panels.preference.objective import Objective
from components.panels.preference.plane import Plane
from components.panels.preference.real import RealNetwork
from components.panels.preference.reward_model import RewardModel

Page("preference", (Calculator, Plane, Objective, Displacement, RealNetwork, RewardModel)).show()
