"""Quantization: what fewer bits do, from one number to the next token."""

from components.page import Page
from components.panels.network.text import choose_text
from components.panels.quantization.budget import bit_budget
from components.panels.quantization.cache import kv_cache
from components.panels.quantization.cascade import down_the_network
from components.panels.quantization.duel import equal_bits
from components.panels.quantization.gptq import gptq_view
from components.panels.quantization.matrix import weight_matrix
from components.panels.quantization.numbers import numbers
from components.panels.quantization.outliers import outliers
from components.panels.quantization.sensitivity import sensitivity
from components.refusal import refusals
from components.words import _
from components.work.running import forget_running

DEFAULTS = {
    "quantization_network": "loupe-llama",
    "quantization_other": "",
    "quantization_passage": "lighthouse",
    "quantization_text": "",
    "quantization_view": "matrix",
    # numbers
    "quantization_value": "0.1",
    "quantization_custom": "E3M4",
    "quantization_overflow": "format",
    "quantization_power": 0.0,
    "quantization_step": 1e-3,
    "quantization_weight": 1.0,
    "quantization_seed": 0,
    # a setting and a matrix
    "quantization_format": "int",
    "quantization_bits": 4.0,
    "quantization_mapping": "symmetric",
    "quantization_granularity": "group",
    "quantization_group": 64.0,
    "quantization_clipping": "max",
    "quantization_double": False,
    "quantization_rule": "floor",
    "quantization_layer": 1,
    "quantization_module": "mlp.up_proj",
    "quantization_row": 0,
    "quantization_column": 0,
    "quantization_budget": 4.5,
    # outliers
    "quantization_channel": 7,
    "quantization_factor": 20.0,
    "quantization_both": 8.0,
    "quantization_threshold": 6.0,
    "quantization_alpha": 0.5,
    # the network
    "quantization_scope": "all",
    "quantization_measure": "kl",
    "quantization_gptq_bits": 3,
    "quantization_gptq_mapping": "symmetric",
    "quantization_order": "given",
    "quantization_damping": 0.01,
    "quantization_columns": 8.0,
    "quantization_part0": 4,
    "quantization_part1": 4,
    "quantization_part2": 4,
    "quantization_part3": 4,
    "quantization_part4": 4,
    "quantization_part5": 4,
    "quantization_cap": 4.0,
    "quantization_key_bits": 2,
    "quantization_value_bits": 2,
    "quantization_key_axis": "channel",
    "quantization_value_axis": "token",
    "quantization_cache_group": 32,
    "quantization_residual": 0,
}
KEPT = frozenset(
    {"quantization_network", "quantization_other", "quantization_passage", "quantization_text"}
)
ON_NETWORK = {
    "cascade": down_the_network,
    "matrix": weight_matrix,
    "duel": equal_bits,
    "outliers": outliers,
    "sensitivity": sensitivity,
    "gptq": gptq_view,
    "budget": bit_budget,
    "cache": kv_cache,
}
VIEWS = ("numbers", "matrix", "duel", "outliers", "cascade", "sensitivity", "gptq", "budget", "cache")


def view_label(view: str) -> str:
    return {
        "numbers": _("Numbers"),
        "matrix": _("A matrix"),
        "duel": _("Equal bits"),
        "outliers": _("Outliers"),
        "cascade": _("To the loss"),
        "sensitivity": _("Sensitivity"),
        "gptq": "GPTQ",
        "budget": _("Bit budget"),
        "cache": _("KV cache"),
    }[view]


page = Page("quantization", DEFAULTS, KEPT)
page.head()
forget_running(page)
view = page.view(VIEWS, view_label)
with refusals():
    if view == "numbers":
        numbers(page)
    else:
        ON_NETWORK[view](page, choose_text(page))
page.questions()
