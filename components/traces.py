"""Traces for pages: the network as it is, kept for a few texts; changed networks traced anew."""

import streamlit as st

from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.tokens import labels
from models.networks.tracing import NO_INTERVENTION, Trace, trace

TRACES_KEPT = 4  # one of GPT-2 with 512 tokens holds about 150 MB


@st.cache_resource(max_entries=TRACES_KEPT, show_spinner=False)
def traced(network_name: str, text: str) -> Trace:
    """The network's own forward pass; shared between sessions, so nothing may be changed in it."""
    return trace(load(network_name), text)


def traced_with(network_name: str, text: str, intervention: Intervention) -> Trace:
    """A forward pass with a change; the latest few are kept, as several panels show the same one."""
    if intervention == NO_INTERVENTION:
        return traced(network_name, text)
    return _traced_with(network_name, text, intervention)


@st.cache_resource(max_entries=TRACES_KEPT, show_spinner=False)
def _traced_with(network_name: str, text: str, intervention: Intervention) -> Trace:
    return trace(load(network_name), text, intervention)


def token_labels(network_name: str, token_ids: list[int]) -> list[str]:
    """Tokens of the vocabulary, each readable on its own."""
    tokenizer = load(network_name).tokenizer
    return [labels(tokenizer, (token,))[0] for token in token_ids]
