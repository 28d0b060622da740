"""Which engine answers: the one that the settings name."""

from functools import cache

from models.networks.engine.process import InProcessEngine
from models.networks.engine.protocol import Engine
from models.runtime.settings import settings


@cache
def engine() -> Engine:
    """The engine that the settings name."""
    if settings().engine == "process":
        return InProcessEngine()
    from models.networks.engine.ray_serve import RayServeEngine  # its client is needed nowhere else

    return RayServeEngine.from_settings(settings())
