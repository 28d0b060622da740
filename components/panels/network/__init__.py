"""What every page on a network shares: text, head selection, live head, arithmetic."""
