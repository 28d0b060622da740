"""What whoever runs Loupe may set, through LOUPE_… environment variables."""

from functools import lru_cache
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import InputError


class Settings(BaseSettings):
    """The settings of this process; each is read from LOUPE_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="LOUPE_", frozen=True, extra="ignore")

    hub: Literal["off", "listed", "any"] = "any"  # networks from a hub: none, the catalogue's, any id
    folders: bool = True  # whether a network may be named by a folder on this machine
    largest_network: int = Field(default=2_000_000_000, ge=1)  # parameters
    text_tokens: int = Field(default=512, ge=8, le=8_192)  # longest traced text; the rest is cut
    text_characters: int = Field(default=100_000, ge=1)  # longest accepted text


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings, read once.

    Raises InputError with a sentence that names the first variable whose value is not accepted.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            "LOUPE_{name} is {value!r}, which is not accepted: {reason}.",
            name=str(first["loc"][0]).upper(),
            value=first["input"],
            reason=first["msg"],
        ) from error
