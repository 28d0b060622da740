"""The gallery's picture of the optimizers page."""

from PIL import Image, ImageDraw

from components.figures.style import ORANGE, SKY
from components.thumbnails import SIZE, coloured
from models.optimizers.surfaces import SurfaceChoice, on_grid, surface
from models.optimizers.trajectories import Choice, Run, trajectory


def draw() -> Image.Image:
    """Three paths over Himmelblau's four minima; brightness is the logarithm of the surface."""
    made = surface(SurfaceChoice("himmelblau"))
    values = on_grid(made, SIZE[1]).log1p()
    picture = coloured((1 - values / values.max()).numpy()[::-1])
    left, right, bottom, top = made.window
    pen = ImageDraw.Draw(picture)
    for kind, rate, colour in (("sgd", 0.01, SKY), ("momentum", 0.005, ORANGE), ("adam", 0.3, "white")):
        path = trajectory(made, (-0.5, -4.5), Choice(kind, rate), Run(120)).positions
        across = (path[:, 0] - left) / (right - left) * SIZE[0]
        down = (top - path[:, 1]) / (top - bottom) * SIZE[1]
        pen.line([*zip(across.tolist(), down.tolist(), strict=True)], fill=colour, width=4)
    return picture
