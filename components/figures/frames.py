"""Scrubbing through time inside a figure: Plotly frames, a slider and a play button.

Frames are plain dictionaries put beside the finished figure: checking hundreds of them one by one
would take longer than everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.figures.style import GREY

AT_ONCE = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}, "transition": {"duration": 0}}


@dataclass(frozen=True, eq=False)
class Scrubbing:
    """Frames by name, the one shown first, and whether this figure carries the slider.

    Figures of one ``scrubber`` show the same frame; those without a slider follow.
    """

    scrubber: str
    frames: Sequence[dict[str, Any]]
    active: int
    label: str = ""  # of the slider; without it, the figure follows another
    play: str = ""
    pause: str = ""

    def put_into(self, figure: dict[str, Any]) -> dict[str, Any]:
        """The figure as a dictionary, with its frames and controls."""
        layout = figure["layout"] | {"meta": {"scrubber": self.scrubber}}
        if self.label:
            layout |= {"sliders": [self._slider()], "updatemenus": [self._buttons()]}
        return figure | {"layout": layout, "frames": list(self.frames)}

    def _slider(self) -> dict[str, Any]:
        steps = [
            {"label": frame["name"], "method": "animate", "args": [[frame["name"]], AT_ONCE]}
            for frame in self.frames
        ]
        return {
            "active": self.active,
            "steps": steps,
            "currentvalue": {"prefix": self.label + " ", "xanchor": "left"},
            "x": 0.27,
            "len": 0.73,
            "y": 0,
            "pad": {"t": 38},
            "ticklen": 0,
            "minorticklen": 0,
            "font": {"size": 12},
            "activebgcolor": GREY,
            "bgcolor": "rgba(128,128,128,.35)",
            "borderwidth": 0,
            "transition": {"duration": 0},
        }

    def _buttons(self) -> dict[str, Any]:
        running = AT_ONCE | {"frame": {"duration": 40, "redraw": False}, "fromcurrent": True}
        return {
            "type": "buttons",
            "direction": "left",
            "showactive": False,
            "x": 0,
            "y": 0,
            "xanchor": "left",
            "yanchor": "top",
            "pad": {"t": 48},
            "bgcolor": "rgba(128,128,128,.15)",
            "bordercolor": GREY,
            "buttons": [
                {"label": self.play, "method": "animate", "args": [None, running]},
                {"label": self.pause, "method": "animate", "args": [[None], AT_ONCE]},
            ],
        }
