"""Every reusable piece of interface."""
