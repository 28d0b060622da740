"""The gallery's picture of the masks page."""

import numpy as np
import torch
from PIL import Image

from components.thumbnails import TOKENS, coloured
from models.attention.head_figures import head_figures
from models.masks.algebra import lambda_shaped
from models.networks.catalogue import DEFAULT
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import trace, trace_ids


def draw() -> Image.Image:
    """A head that rests on the first token, with the network's own mask and with sinks and a window."""
    network = load(DEFAULT)
    layer, head = head_figures(network)["first_token_on_text_head"]
    visible = lambda_shaped(2, 10).to_tensor(TOKENS, TOKENS)
    text = passages()[0].excerpt
    ids = trace(network, text).token_ids[:TOKENS]
    maps = []
    for change in (Intervention(), Intervention(visible=Visible.from_tensor(visible))):
        record = trace_ids(network, ids, change).layers[layer]
        weights = record.probabilities[head].masked_fill(~record.visible, torch.nan).numpy()
        maps.append(weights**0.5)  # the many small weights stay visible
    return coloured(np.concatenate([maps[0], np.full((TOKENS, 2), np.nan), maps[1]], axis=1))
