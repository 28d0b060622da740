"""The live figure of the home page."""
