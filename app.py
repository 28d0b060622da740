"""Loupe: look inside language models. Start it with ``streamlit run app.py``."""

from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from components import options
from components.process import ROUTES, HelpfulNotFound, lifespan
from components.refusal import show_failure
from models.errors import InputError
from models.settings import settings

try:
    options.follow(settings())
except InputError as error:  # a wrong LOUPE_… variable stops the start with one sentence
    raise SystemExit(str(error)) from None

app = st.App(
    Path(__file__).parent / "components" / "shell.py",
    lifespan=lifespan,
    routes=ROUTES,
    middleware=[Middleware(HelpfulNotFound)],
    on_script_error=show_failure,
)
