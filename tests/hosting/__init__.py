"""Loupe for a team: the real nginx, a real OpenID Connect provider, real processes that die."""
