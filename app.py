"""Loupe: look inside language models. Start it with ``streamlit run app.py``."""

import os
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from components.refusal import show_failure
from components.server import options
from components.server.process import HelpfulNotFound, lifespan, routes
from components.server.sign_in import Guard, secrets
from components.server.uploads import Uploads
from models.errors import InputError
from models.runtime.settings import settings

# One thread a rerun serves more sessions a second; OpenBLAS's own wait for each other so long that an SVD
# of a small matrix took ten times as long on a busy machine. Both are read when NumPy is first imported.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

try:
    options.follow(settings())
except InputError as error:  # a wrong LOUPE_… variable stops the start with one sentence
    raise SystemExit(str(error)) from None

app = st.App(
    Path(__file__).parent / "components" / "shell.py",
    lifespan=lifespan,
    routes=routes(),
    middleware=[Middleware(Guard), Middleware(Uploads), Middleware(HelpfulNotFound)],
    secrets=secrets(settings()),
    on_script_error=show_failure,
)
