"""Down the network: one setting from the weights' error to the loss, on one screen."""

import html
import math
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.nn.functional import kl_div

from components.figures.quantized_network import errors_by_module, kl_bars, loss_bars, stream
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.network.reading import ReadsText
from components.panels.quantization.reading import (
    SCOPES,
    baseline,
    chosen_weights,
    followed_down,
    network,
    text_labels,
)
from components.panels.quantization.settings import ChoosesFormat, setting_name
from components.settings import one_of
from components.stage import Plot, Row, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.traces import token_labels
from components.words import _, mark
from models.quantization.quantized_network import Cascade, logits_with, quantized
from models.quantization.weight_formats import Setting

SMALLEST_TOP = 0.25  # of the axis of relative errors


def scope_label(scope: str) -> str:
    return {"all": _("all matrices"), "attention": _("attention"), "mlp": _("MLPs")}[scope]


@dataclass(frozen=True)
class ToTheLoss(ChoosesFormat, ReadsText):
    """One setting, four consequences: matrices, residual stream, next tokens, loss."""

    page, name = "quantization", "cascade"
    scope: str = one_of(SCOPES, label=mark("Quantized"), label_of=scope_label)

    @property
    def followed(self) -> Cascade:
        """Raises InputError for an encoder."""
        return followed_down(self.network_name, self.text, self.scope, self.setting)

    def stage(self) -> Stage:
        found = self.followed
        return Stage(
            Row([modules_plot(found), stream_plot(found)]),
            Row([kl_plot(self, found), loss_plot(found, setting_name(self.setting))]),
        )

    def below(self) -> None:
        note(self, "cascade")
        found = self.followed
        before, after = logits(self)
        flips(self, found, before, after)
        loss_formula(found)
        table = errors_table(found)
        with st.expander(_("All matrices as a table")):
            st.dataframe(table, hide_index=True)
        checked_against(checks(self, found, before, after))
        take_with_you(
            self,
            lambda: table,
            lambda: kl_figure(self, found),
            snippet(self.network_name, self.text, self.scope, self.setting),
        )


def module_labels(found: Cascade) -> list[str]:
    return [f"{weight.layer} {weight.module.split('.')[-1]}" for weight in found.weights]


def modules_plot(found: Cascade) -> Plot:
    largest = max(float(found.weight_error.max()), float(found.output_error.max()))
    figure = errors_by_module(
        module_labels(found),
        found.weight_error.numpy(),
        found.output_error.numpy(),
        max(SMALLEST_TOP, 1.1 * largest),
    )
    return Plot("modules", figure, _("Error of each matrix and of its output"), rest=60, least=200)


def stream_plot(found: Cascade) -> Plot:
    figure = stream(found.stream_error.numpy())
    return Plot("stream", figure, _("Error along the residual stream"), rest=100, least=200)


def kl_figure(view: ToTheLoss, found: Cascade) -> go.Figure:
    labels = text_labels(view.network_name, view.text)
    return kl_bars(labels, found.measured.kl.numpy(), found.measured.flipped.numpy())


def kl_plot(view: ToTheLoss, found: Cascade) -> Plot:
    return Plot("kl", kl_figure(view, found), _("KL of the next token after each token"), least=200)


def loss_plot(found: Cascade, name: str) -> Plot:
    measured = found.measured
    title = _("{name}: {bits} bits per weight · KL {kl} nats · {flips} of {count} choices flip").format(
        name=name,
        bits=f"{found.effective_bits:.2f}",
        kl=f"{measured.mean_kl:.4f}",
        flips=int(measured.flipped.sum()),
        count=len(measured.flipped),
    )
    names = [_("as it is"), _("quantized")]
    figure = loss_bars(names, [found.loss_before, measured.loss], title)
    return Plot("loss", figure, _("Loss on held-out passages before and after"), least=200)


def logits(view: ToTheLoss) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the text, as the network is and with the setting."""
    base, loaded = baseline(view.network_name, view.text), network(view.network_name)
    replaced, _bits = quantized(loaded, chosen_weights(view.network_name, view.scope), view.setting)
    return base.logits, logits_with(loaded, base.tokens[None], replaced)[0]


def loss_formula(found: Cascade) -> None:
    added = found.measured.loss - found.loss_before
    show_formula(
        rf"\Delta\text{{loss}}={found.measured.loss:.4f}-{found.loss_before:.4f}={added:.4f}"
        rf"\qquad e^{{\Delta}}={math.exp(added):.4f}"
        rf"\qquad \overline{{\mathrm{{KL}}}}={found.measured.mean_kl:.5f}"
    )


def errors_table(found: Cascade) -> pd.DataFrame:
    return pd.DataFrame(
        {
            _("Layer"): [weight.layer for weight in found.weights],
            _("Matrix"): [weight.module for weight in found.weights],
            _("Error of the weights"): [f"{value:.3%}" for value in found.weight_error],
            _("Error of the output"): [f"{value:.3%}" for value in found.output_error],
        }
    )


def checks(view: ToTheLoss, found: Cascade, before: torch.Tensor, after: torch.Tensor) -> list[Check]:
    """The KL by torch, and the kept baseline against the shared network itself, asked now."""
    theirs = kl_div(
        after.double().log_softmax(-1), before.double().log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    difference = float((theirs.clamp(min=0) - found.measured.kl).abs().max())
    loaded, tokens = network(view.network_name), baseline(view.network_name, view.text).tokens
    with torch.no_grad():
        own = loaded.model(tokens[None].to(loaded.device), use_cache=False).logits[0].float().cpu()
    return [
        Check("torch.nn.functional.kl_div", difference, 1e-4),
        Check(_("the untouched network's own logits"), float((own - before).abs().max()), 1e-3),
    ]


def flips(view: ToTheLoss, found: Cascade, before: torch.Tensor, after: torch.Tensor) -> None:
    """The text, with a mark where the greedy next token becomes another, and which."""
    flipped = found.measured.flipped.nonzero().flatten().tolist()
    shown = text_labels(view.network_name, view.text)
    was = token_labels(view.network_name, before.argmax(-1).tolist())
    becomes = token_labels(view.network_name, after.argmax(-1).tolist())
    chips = []
    for index, label in enumerate(shown):
        text = html.escape(label)
        if index in flipped:
            change = f"{html.escape(was[index])} → {html.escape(becomes[index])}"
            text = f'{text}<span style="color:#D55E00;font-weight:600"> ⟨{change}⟩</span>'
        chips.append(f'<span style="white-space:pre-wrap">{text}</span>')
    st.html(
        '<div style="display:flex;flex-wrap:wrap;gap:.1rem .4rem;font-size:.85rem;max-height:9rem;'
        f'overflow:auto">{"".join(chips)}</div>'
    )
    line = _("⟨was → becomes⟩: the greedy next token after this one is another: {count} of {all}.")
    st.caption(line.format(count=len(flipped), all=len(shown)))


def snippet(network: str, text: str, scope: str, setting: Setting) -> str:
    """Python that repeats the losses."""
    is_attention = '("attn" in w.module or "attention" in w.module)'
    chosen = {
        "all": "weights_of(network)",
        "attention": f"tuple(w for w in weights_of(network) if {is_attention})",
        "mlp": f"tuple(w for w in weights_of(network) if not {is_attention})",
    }[scope]
    return f"""from models.networks.loading import load
from models.quantization.quantized_network import cascade, token_ids, weights_of
from models.quantization.weight_formats import Setting

network = load({network!r})
chosen = {chosen}
found = cascade(network, token_ids(network, {text!r}), chosen, {setting!r})
print(found.effective_bits, found.loss_before, found.measured.loss, found.measured.mean_kl)
"""
