"""Loupe for a team: several processes behind one nginx."""
