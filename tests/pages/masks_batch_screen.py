"""Batches on the masks page for their tests: opened by address, in short, with their metrics."""

import torch
from streamlit.testing.v1 import AppTest
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from tests.pages.screen import ROOT, open_page

NETWORK = ROOT / "assets" / "networks" / "loupe-llama"
VIEWS = {
    "padding": {"masks_pad_row0", "masks_pad_row1", "masks_pad_changes", "masks_pad_next"},
    "packing": {"masks_pack_rows", "masks_pack_mask", "masks_pack_losses"},
    "stream": {"masks_stream_shape", "masks_stream_losses", "masks_stream_decoded"},
}
SMALL = {"stream_tokens": "96", "stream_prefill": "64", "stream_window": "8"}


def masks(view: str, **query: str) -> AppTest:
    """One view by its address; names without their prefix. Streams are short."""
    query = (SMALL if view == "stream" else {}) | query
    return open_page("masks", masks_view=view, **{f"masks_{key}": value for key, value in query.items()})


def metrics(screen: AppTest) -> dict[str, float]:
    return {metric.label: float(metric.value) for metric in screen.metric}


def logits_of(ids: list[int]) -> torch.Tensor:
    """Transformers' own logits of one text."""
    with torch.no_grad():
        return model()(torch.tensor([ids])).logits[0]


def model() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(NETWORK).eval()


def ids_of(text: str, **options: bool) -> list[int]:
    return AutoTokenizer.from_pretrained(NETWORK)(text, **options).input_ids
