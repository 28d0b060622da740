"""Down the network: one setting from the weights' error to the loss, on one screen."""

import html

import pandas as pd
import streamlit as st
import torch
from torch.nn.functional import kl_div

from components.controls import choose
from components.figures.quantized_network import errors_by_module, kl_bars, loss_bars, stream
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.text import Choice
from components.panels.quantization.reading import SCOPES, chosen_weights, followed_down, text_labels
from components.panels.quantization.setting import choose_setting, setting_name, setting_now
from components.traces import token_labels
from components.words import _
from models.networks.loading import load
from models.quantization.quantized_network import Cascade, check_decoder, logits_with, quantized, token_ids
from models.quantization.weight_formats import Setting

LIVE = ("live_cascade",)
SETTLED = (*LIVE, "cascade_facts")


def scope_label(scope: str) -> str:
    return {"all": _("all matrices"), "attention": _("attention"), "mlp": _("MLPs")}[scope]


@panel
def down_the_network(page: Page, choice: Choice) -> None:
    check_decoder(load(choice.network))
    scope = choose(
        _("Quantized"),
        SCOPES,
        f"{page.name}_scope",
        scope_label,
        default=page.default("scope"),
        style="segments",
    )
    choose_setting(page, LIVE, SETTLED)
    live_cascade(page, choice, scope)
    page.note("cascade")
    cascade_facts(page, choice, scope)


def module_labels(found: Cascade) -> list[str]:
    return [f"{weight.layer} {weight.module.split('.')[-1]}" for weight in found.weights]


@live_panel
def live_cascade(page: Page, choice: Choice, scope: str) -> None:
    setting = setting_now(page)
    found = followed_down(choice.network, choice.text, scope, setting)
    measured = found.measured
    top = max(0.25, 1.1 * max(float(found.weight_error.max()), float(found.output_error.max())))
    left, right = st.columns(2, gap="medium")
    with left:
        figure = errors_by_module(
            module_labels(found), found.weight_error.numpy(), found.output_error.numpy(), top
        )
        live_figure(figure, f"{page.name}_modules", _("Error of each matrix and of its output"), rest=100)
        figure = kl_bars(
            text_labels(choice.network, choice.text), measured.kl.numpy(), measured.flipped.numpy()
        )
        live_figure(figure, f"{page.name}_kl", _("KL of the next token after each token"))
    with right:
        live_figure(
            stream(found.stream_error.numpy()),
            f"{page.name}_stream",
            _("Error along the residual stream"),
            rest=100,
        )
        title = _("{name}: {bits} bits a weight · KL {kl} nats · {flips} of {count} choices flip").format(
            name=setting_name(setting),
            bits=f"{found.effective_bits:.2f}",
            kl=f"{measured.mean_kl:.4f}",
            flips=int(measured.flipped.sum()),
            count=len(measured.flipped),
        )
        names = [_("as it is"), _("quantized")]
        figure = loss_bars(names, [found.loss_before, measured.loss], title)
        live_figure(figure, f"{page.name}_loss", _("Loss on held-out passages before and after"))


@panel
def cascade_facts(page: Page, choice: Choice, scope: str) -> None:
    """Flipped choices in the text, numbers, and the same by torch and transformers."""
    setting = setting_now(page)
    found = followed_down(choice.network, choice.text, scope, setting)
    network = load(choice.network)
    tokens = token_ids(network, choice.text)
    replaced, _bits = quantized(network, chosen_weights(choice.network, scope), setting)
    before, after = (logits_with(network, tokens[None], change)[0] for change in ({}, replaced))
    flips(choice, found, before, after)
    table = pd.DataFrame(
        {
            _("Layer"): [weight.layer for weight in found.weights],
            _("Matrix"): [weight.module for weight in found.weights],
            _("Error of the weights"): [f"{value:.3%}" for value in found.weight_error],
            _("Error of the output"): [f"{value:.3%}" for value in found.output_error],
        }
    )
    added = found.measured.loss - found.loss_before
    st.latex(
        rf"\Delta\text{{loss}}={found.measured.loss:.4f}-{found.loss_before:.4f}={added:.4f}"
        rf"\qquad e^{{\Delta}}={2.718281828459045**added:.4f}"
        rf"\qquad \overline{{\mathrm{{KL}}}}={found.measured.mean_kl:.5f}"
    )
    with st.expander(_("Every matrix in numbers")):
        st.dataframe(table, hide_index=True)
    theirs = kl_div(
        after.double().log_softmax(-1), before.double().log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    difference = float((theirs.clamp(min=0) - found.measured.kl).abs().max())
    with torch.no_grad():
        own = network.model(tokens[None].to(network.device), use_cache=False).logits[0].float().cpu()
    checked_against(
        [
            Check("torch.nn.functional.kl_div", difference, 1e-4),
            Check(_("the untouched network's own logits"), float((own - before).abs().max()), 1e-3),
        ]
    )
    take_with_you(
        f"{page.name}_cascade",
        lambda: table,
        lambda: kl_bars(
            text_labels(choice.network, choice.text),
            found.measured.kl.numpy(),
            found.measured.flipped.numpy(),
        ),
        snippet(choice, scope, setting),
    )


def flips(choice: Choice, found: Cascade, before: torch.Tensor, after: torch.Tensor) -> None:
    """The text, with a mark where the greedy next token becomes another, and which."""
    places = found.measured.flipped.nonzero().flatten().tolist()
    shown = text_labels(choice.network, choice.text)
    was = token_labels(choice.network, before.argmax(-1).tolist())
    becomes = token_labels(choice.network, after.argmax(-1).tolist())
    chips = []
    for index, label in enumerate(shown):
        text = html.escape(label)
        if index in places:
            change = f"{html.escape(was[index])} → {html.escape(becomes[index])}"
            text = f'{text}<span style="color:#D55E00;font-weight:600"> ⟨{change}⟩</span>'
        chips.append(f'<span style="white-space:pre-wrap">{text}</span>')
    st.html(
        '<div style="display:flex;flex-wrap:wrap;gap:.1rem .4rem;font-size:.85rem;max-height:9rem;'
        f'overflow:auto">{"".join(chips)}</div>'
    )
    page_line = _("⟨was → becomes⟩: the greedy next token after this one is another: {count} of {all}.")
    st.caption(page_line.format(count=len(places), all=len(shown)))


def snippet(choice: Choice, scope: str, setting: Setting) -> str:
    is_attention = '("attn" in w.module or "attention" in w.module)'
    chosen = {
        "all": "weights_of(network)",
        "attention": f"tuple(w for w in weights_of(network) if {is_attention})",
        "mlp": f"tuple(w for w in weights_of(network) if not {is_attention})",
    }[scope]
    return f"""from models.networks.loading import load
from models.quantization.quantized_network import cascade, token_ids, weights_of
from models.quantization.weight_formats import Setting

network = load({choice.network!r})
chosen = {chosen}
found = cascade(network, token_ids(network, {choice.text!r}), chosen, {setting!r})
print(found.effective_bits, found.loss_before, found.measured.loss, found.measured.mean_kl)
"""
