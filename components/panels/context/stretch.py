"""What a method keeps of the network's frequencies, small, while the factor is dragged."""

from components.figures.context import ratios
from components.live.figure import live_figure
from components.page import Page
from components.panels import live_panel
from components.panels.context.settings import METHODS, NETWORK, factor_now, method_label, way_of
from components.words import _
from models.networks.loading import load
from models.rotary.scaling import scaled_rope


@live_panel
def stretch_preview(page: Page, method: str) -> None:
    """θ'/θ of the chosen method on the embedded network, at the factor of this moment."""
    network = load(NETWORK)
    factor = factor_now(page)
    window = page.default("window")
    own = scaled_rope(way_of("default", factor, window).rope)
    rope = way_of(method if method in METHODS else "default", factor, window).rope
    scaled = scaled_rope(rope, round(factor * network.context))
    label = method_label(method)
    turned = int((own.turns(network.context) >= 1).sum())
    curve = (scaled.inverse_frequencies / own.inverse_frequencies).numpy()
    live_figure(
        ratios({label: curve}, label, turned - 0.5, height=260),
        f"{page.name}_stretch",
        _("What the method keeps of each frequency of this network"),
    )
