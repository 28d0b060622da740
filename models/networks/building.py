"""One network is built at a time in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_lock = RLock()


@contextmanager
def building() -> Iterator[None]:
    """Wait until nobody else builds or loads a network, and keep others waiting.

    While it builds, transformers 5 puts other functions in the place of torch.nn.init's, of
    PreTrainedModel.tie_weights and of torch.linspace, and sets torch's default type, for the whole process:
    two threads that do so at once get weights that are not tied, and may leave the process so.
    """
    with _lock:
        yield
