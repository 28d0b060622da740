"""Views of the attention page."""
