"""One live figure for whoever opens Loupe for the first time: a head, a temperature, the next token."""

from dataclasses import dataclass

from components.figures.style import token_heatmap
from components.panels.network.heads import head_title, next_token_plot
from components.panels.network.reading import SHORT_TEXT
from components.settings import View, slider
from components.stage import Plot, Stage
from components.traces import traced_with
from components.words import _, mark
from models.networks.catalogue import DEFAULT
from models.networks.interventions import Intervention

LAYER, HEAD = 1, 4  # loupe-llama's previous-token head


@dataclass(frozen=True)
class TryIt(View):
    """Attention of one head of the embedded network while its temperature is turned."""

    page, name = "home", "try"
    temperature: float = slider(0.05, 20.0, 1.0, log=True, label=mark("Temperature"))

    def stage(self) -> Stage:
        base = traced_with(DEFAULT, SHORT_TEXT, Intervention())
        changed = traced_with(DEFAULT, SHORT_TEXT, Intervention(temperature=self.temperature))
        shown = changed.layers[LAYER].probabilities[HEAD].clone()
        shown[changed.layers[LAYER].visible.logical_not()] = float("nan")
        figure = token_heatmap(
            shown.numpy(),
            changed.labels,
            changed.labels,
            query_title=_("Query"),
            key_title=_("Key"),
            value_title=_("Softmax"),
            limits=(0.0, 1.0),
        )
        plots = [Plot("map", figure, head_title(LAYER, HEAD), width=1.5)]
        if (following := next_token_plot(DEFAULT, base, changed, "next")) is not None:
            plots.append(following)
        return Stage(plots)
