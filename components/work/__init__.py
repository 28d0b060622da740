"""Long work: one queue, how it runs and stops, and how the page shows it."""
