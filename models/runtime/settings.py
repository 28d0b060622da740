"""What whoever runs Loupe may set, through LOUPE_… environment variables.

A profile is a set of defaults: ``local`` for one person at their own machine, ``hosted`` for a team
behind a proxy. Single variables override it.
"""

import difflib
import os
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import InputError

PREFIX = "LOUPE_"
PROFILES: dict[str, dict[str, Any]] = {
    "local": {},
    "hosted": {
        "hub": "off",
        "folders": False,
        "largest_network": 500_000_000,
        "text_tokens": 256,
        "text_characters": 20_000,
        "real_run_seconds": 180,
        "upload_megabytes": 1,
        "toolbar": "minimal",
        "heavy_per_minute": 30,
        "memory_megabytes": 3_000,
        "cache_megabytes": 500,
        "log_json": True,
    },
}


class Settings(BaseSettings):
    """The settings of this process; each is read from LOUPE_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    profile: Literal["local", "hosted"] = "local"

    # What people may read
    hub: Literal["off", "listed", "any"] = "any"  # networks from a hub: none, the catalogue's, any id
    folders: bool = True  # whether a network may be named by a folder on this machine
    largest_network: int = Field(default=2_000_000_000, ge=1)  # parameters
    text_tokens: int = Field(default=512, ge=8, le=8_192)  # longest traced text; the rest is cut
    text_characters: int = Field(default=100_000, ge=1)  # longest accepted text
    upload_megabytes: int = Field(default=50, ge=1, le=200)

    # How much one process works
    heavy_at_once: int = Field(default=2, ge=1, le=256)  # heavy computations; the others wait in order
    heavy_per_minute: int = Field(default=0, ge=0)  # that one session may start; 0: as many as it likes
    real_runs: int = Field(default=2, ge=1, le=256)  # trainings of a network at once
    real_run_seconds: int = Field(default=3_600, ge=10)  # the longest one
    memory_megabytes: int = Field(default=0, ge=0)  # of the process; 0: no limit
    cache_megabytes: int = Field(default=2_000, ge=50)  # traces and networks that are kept

    # Where networks run
    engine: Literal["process", "ray"] = "process"
    engine_address: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://[^\s/]+(/\S*)?$")
    engine_connect_seconds: float = Field(default=2, gt=0, le=60)
    engine_seconds: float = Field(default=30, gt=0, le=600)  # longest wait for one answer

    # The pool itself, where this machine runs one: make pool
    pool_host: str = "127.0.0.1"  # the address of this machine on which it listens
    pool_port: int = Field(default=8000, ge=1, le=65_535)
    pool_replicas: int = Field(default=2, ge=1, le=256)  # processes, each with networks of its own
    pool_gpus: float = Field(default=0, ge=0, le=8)  # of each replica; 0: it computes on the processor
    pool_threads: int = Field(default=1, ge=1, le=256)  # of each replica's torch
    pool_batch: int = Field(default=8, ge=1, le=256)  # texts in one forward pass, at most
    pool_queue: int = Field(default=64, ge=0)  # questions that wait; what comes then is turned away

    # What whoever runs it reads
    log_json: bool = False  # events and timings as lines of JSON on standard error

    # What the browser is shown
    error_details: bool = False  # tracebacks on the page, for whoever develops one
    toolbar: Literal["auto", "developer", "viewer", "minimal"] = "viewer"
    file_watcher: bool = False  # whether changed source files rerun the pages
    public_address: str = Field(default="", pattern=r"^(https?://[^\s/]+)?$")  # as browsers see it
    base_path: str = Field(default="", pattern=r"^([A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*)?$")  # below it

    # Sign-in by OpenID Connect
    sign_in: bool = False
    sign_in_metadata: str = Field(default="", pattern=r"^(https?://\S+)?$")  # the provider's document
    sign_in_client_id: str = ""
    sign_in_client_secret: SecretStr = SecretStr("")
    sign_in_hours: float = Field(default=12, gt=0, le=720)  # after which a person signs in again
    cookie_secret: SecretStr = SecretStr("")  # the same for all processes behind one address

    @model_validator(mode="before")
    @classmethod
    def _of_profile(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What is not set comes from the profile; an unknown profile is refused by its own field."""
        return PROFILES.get(str(given.get("profile", "local")), {}) | given


NEEDED_FOR_SIGN_IN = ("public_address", "sign_in_metadata", "sign_in_client_id", "sign_in_client_secret")
SHORTEST_COOKIE_SECRET = 32  # characters


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings, read once.

    Raises InputError with a sentence that names the first variable that is not known, whose value is
    not accepted, or that is missing.
    """
    _refuse_unknown_names()
    try:
        read = Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            "LOUPE_{name} is {value!r}, which is not accepted: {reason}.",
            name=str(first["loc"][0]).upper(),
            value=first["input"],
            reason=first["msg"],
        ) from error
    _refuse_half_a_sign_in(read)
    return read


def _refuse_unknown_names() -> None:
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(os.environ):
        asked = name.upper().removeprefix(PREFIX)
        if not name.upper().startswith(PREFIX) or asked in known:
            continue
        for near in difflib.get_close_matches(asked, known, n=1):
            raise InputError(
                "There is no setting {name}; the nearest is {near}.", name=name, near=PREFIX + near
            )
        raise InputError("There is no setting {name}.", name=name)


def _refuse_half_a_sign_in(read: Settings) -> None:
    if not read.sign_in:
        return
    for name in NEEDED_FOR_SIGN_IN:
        value = getattr(read, name)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise InputError("LOUPE_SIGN_IN needs LOUPE_{name}, which is not set.", name=name.upper())
    if len(read.cookie_secret.get_secret_value()) < SHORTEST_COOKIE_SECRET:
        raise InputError(
            "LOUPE_SIGN_IN needs LOUPE_COOKIE_SECRET, of {count} characters or more.",
            count=SHORTEST_COOKIE_SECRET,
        )
