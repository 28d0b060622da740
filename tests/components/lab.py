"""A small page of two views for tests of the bench: pure arithmetic, no network."""

from dataclasses import dataclass, replace

import plotly.graph_objects as go

from components.settings import View, number, one_of, picked, slider, text
from components.stage import Plot, Stage
from models.errors import InputError


@dataclass(frozen=True)
class Shared(View):
    seed: int = number(0, 99, 7, label="Seed")


@dataclass(frozen=True)
class Bars(Shared):
    page, name = "lab", "bars"
    width: float = slider(0.0, 10.0, 1.0, label="Width")
    later: float = slider(0.0, 1.0, 0.5, label="Later", live=False)
    kind: str = one_of(("bars", "two"), label="Kind")
    words: str = text("one", label="Words", most=2_000)
    place: int = picked()

    def stage(self) -> Stage:
        if self.width == 5:
            raise InputError("No five.")
        if self.width == 7:
            raise ZeroDivisionError
        plots = [
            Plot(
                "bars",
                go.Figure(go.Bar(y=[self.later, self.width])),
                f"width {self.width}",
                lambda click: replace(self, place=int(click["point"])),
            ),
            Plot("still", go.Figure(go.Bar(y=[self.later])), "does not move"),
        ]
        if self.width > 8:
            plots.append(Plot("wide", go.Figure(go.Bar(y=[1.0])), "only where it is wide"))
        return Stage(plots)


@dataclass(frozen=True)
class Lines(Shared):
    page, name = "lab", "lines"
    height: int = slider(1, 9, 3, 1, label="Height")

    def stage(self) -> Stage:
        return Stage(Plot("lines", go.Figure(go.Scatter(y=[0.0, float(self.height)])), "a line"))


VIEWS = (Bars, Lines)
