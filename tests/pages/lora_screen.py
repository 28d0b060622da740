"""The LoRA page for its tests: opened by address, its views and what each of them shows."""

from streamlit.testing.v1 import AppTest

from tests.pages.screen import controls, figures, open_page, to_the_end

VIEWS = {
    "compare": {"lora_directions", "lora_quick", "lora_heatmap", "lora_curves"},
    "zero": {"lora_gradients", "lora_zero_loss"},
    "scaling": {"lora_gradient", "lora_change", "lora_progress"},
    "invariance": {"lora_invariance"},
    "spectrum": {"lora_values", "lora_cosines_0", "lora_cosines_1"},
    "audit": {"lora_audit"},
    "merge": {"lora_sketch", "lora_counts"},
    "real": {"lora_new", "lora_old"},
}


CONTROLS = controls("lora")
DEFAULTS = {key: control.default for key, control in CONTROLS.items()}


def lora(**query: str) -> AppTest:
    """The page opened by address; names without their prefix."""
    return open_page("lora", **{f"lora_{key}": value for key, value in query.items()})


def finished_grid(**query: str) -> AppTest:
    """The comparison of a small grid, once it is trained."""
    small = {"names": "kaiming,pissa,orthogonal", "ranks": "2,8", "width": "32", "steps": "20"}
    return to_the_end(lora(**{**small, **query}), "lora_grid")


def checks(screen: AppTest) -> list[str]:
    return [caption.value for caption in screen.caption if "allowed" in caption.value]


def shown(screen: AppTest) -> set[str]:
    """The figures on the page, without the one that a grid draws once it is trained."""
    return set(figures(screen)) - {"lora_basins"}
