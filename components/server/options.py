"""Streamlit's own options, as far as they follow from Loupe's settings."""

from typing import Any

from streamlit import config

from models.runtime.settings import Settings


def options(settings: Settings) -> dict[str, Any]:
    """Values of Streamlit's options by their names."""
    followed: dict[str, Any] = {
        "client.showErrorDetails": "full" if settings.error_details else "none",
        "client.toolbarMode": settings.toolbar,
        "server.fileWatcherType": "auto" if settings.file_watcher else "none",
        "server.maxUploadSize": settings.upload_megabytes,
    }
    if settings.base_path:
        followed["server.baseUrlPath"] = settings.base_path
    if secret := settings.cookie_secret.get_secret_value():
        followed["server.cookieSecret"] = secret
    return followed


def follow(settings: Settings) -> None:
    """Set the options in this process, in time for ``streamlit run``: before its routes are made."""
    for name, value in options(settings).items():
        config.set_option(name, value)
