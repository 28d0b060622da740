"""Python to take along: scripts that run in an empty folder and print what a page shows."""
