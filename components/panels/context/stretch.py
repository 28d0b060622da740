"""What a method keeps of the network's frequencies, small, while the factor is dragged."""

from components.figures.context import ratios
from components.panels.context.settings import Measured, embedded, rope_of
from components.stage import Plot
from components.words import _
from models.rotary.scaling import scaled_rope


def stretch_plot(view: Measured, width: float = 1.0) -> Plot:
    """θ'/θ of the chosen method on the embedded network, at the factor of this moment."""
    trained = embedded().context
    own = scaled_rope(view.way("default").rope)
    scaled = scaled_rope(view.way(rope_of(view.method)).rope, round(view.factor * trained))
    turned = int((own.turns(trained) >= 1).sum())
    curve = (scaled.inverse_frequencies / own.inverse_frequencies).numpy()
    figure = ratios({rope_of(view.method): curve}, rope_of(view.method), turned - 0.5)
    return Plot(
        "stretch", figure, _("What the method keeps of each frequency of this network"), width=width
    )
