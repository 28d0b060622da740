"""How the embedded networks were trained and published; the app imports nothing of this."""
