"""LoRA: rank, initialisation, scale and learning rate, and how they really trade."""

from components.page import Page
from components.panels.lora.audit import no_op_audit
from components.panels.lora.compare import comparison
from components.panels.lora.invariance import invariance
from components.panels.lora.merging import merging
from components.panels.lora.real import real_lab
from components.panels.lora.scaling import referee
from components.panels.lora.spectrum import autopsy
from components.panels.lora.zero import zeros
from components.refusal import refusals
from components.words import _
from components.work.running import forget_running

DEFAULTS = {
    "lora_view": "compare",
    "lora_alignment": 0.0,
    "lora_target": 8.0,
    "lora_exponent": 1.0,
    "lora_size": 1.0,
    "lora_names": [
        "kaiming", "gaussian", "zero", "random", "b_random", "orthogonal", "pissa", "milora", "olora",
    ],
    "lora_ranks": ["2", "8"],
    "lora_rank": 8,
    "lora_axis": "rank",
    "lora_scaling": "alpha/r",
    "lora_alpha": 8.0,
    "lora_ratio": 1.0,
    "lora_dora": False,
    "lora_width": 64,
    "lora_steps": 100,
    "lora_seeds": 3,
    "lora_seed": 0,
    "lora_zero_alpha": 8.0,
    "lora_zero_rate": 0.01,
    "lora_start": "kaiming",
    "lora_scale_alpha": 16.0,
    "lora_scale_rate": 1e-4,
    "lora_p": 2.0,
    "lora_knob_alpha": 8.0,
    "lora_knob_start": 1.0,
    "lora_knob_rate": 5e-3,
    "lora_optimizer": "adam",
    "lora_turned": ["alpha", "start", "rate"],
    "lora_source": "task",
    "lora_matrix": "",
    "lora_spectrum_start": "kaiming",
    "lora_spectrum_rank": 4,
    "lora_spectrum_rate": "0.01",
    "lora_epsilon": 0.5,
    "lora_leading": 10.0,
    "lora_shape": "loupe-llama",
    "lora_targets": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "lora_merge_rank": 8,
    "lora_bottleneck": 8,
    "lora_virtual": 20,
    "lora_domain": "python",
    "lora_method": "lora",
    "lora_real_rate": "0.003",
    "lora_real_steps": 100,
    "lora_real_rank": 8,
    "lora_real_alpha": 16,
    "lora_real_init": "kaiming",
    "lora_real_ratio": 1,
    "lora_real_dora": False,
    "lora_qlora": False,
}  # fmt: skip
KEPT: frozenset[str] = frozenset()
VIEWS = {
    "compare": comparison,
    "zero": zeros,
    "scaling": referee,
    "invariance": invariance,
    "spectrum": autopsy,
    "audit": no_op_audit,
    "merge": merging,
    "real": real_lab,
}


def view_label(view: str) -> str:
    return {
        "compare": _("Compare"),
        "zero": _("Why B is zero"),
        "scaling": _("α/r or α/√r"),
        "invariance": _("One knob, not four"),
        "spectrum": _("Spectrum"),
        "audit": _("No-op audit"),
        "merge": _("Merge and placement"),
        "real": _("A real network"),
    }[view]


page = Page("lora", DEFAULTS, KEPT)
page.head()
forget_running(page)
view = page.view(VIEWS, view_label)
with refusals():
    VIEWS[view](page)
page.questions()
