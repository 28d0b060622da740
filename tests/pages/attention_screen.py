"""The attention page for its tests: opened by address, its heatmap, and what transformers computes."""

from functools import cache

import numpy as np
import torch
from streamlit.testing.v1 import AppTest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.pages.screen import ROOT, controls, figures, open_page

NETWORK = ROOT / "assets" / "networks" / "loupe-llama"
TEXT = "The keeper lit the lamp, and the keeper slept."
VIEWS = {
    "look": {"attention_grid", "attention_heatmap", "attention_next", "attention_products"},
    "find": set(),
    "depth": {"attention_rank", "attention_entropy"},
    "scale": {"attention_products_hist", "attention_largest_weight", "attention_median_gradient_norm"},
    "softmax": {"attention_softmax"},
    "sharing": {"attention_sharing"},
}
STAGES = ("raw", "scaled", "masked", "softmax", "contribution")


CONTROLS = controls("attention")


def attention(**query: str | list[str]) -> AppTest:
    """The page with the short text, opened by address; names without their prefix."""
    return open_page(
        "attention", **{f"attention_{key}": value for key, value in {"text": TEXT, **query}.items()}
    )


def heatmap(screen: AppTest) -> np.ndarray:
    return figures(screen)["attention_heatmap"]["data"][0]["z"]


@cache
def eager() -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """Attentions [layer, head, query, key] and logits of TEXT by transformers' own eager attention."""
    model = AutoModelForCausalLM.from_pretrained(NETWORK, attn_implementation="eager").eval()
    ids = AutoTokenizer.from_pretrained(NETWORK)(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        output = model(ids, output_attentions=True)
    return torch.cat(output.attentions), output.logits[0], tuple(ids[0].tolist())
