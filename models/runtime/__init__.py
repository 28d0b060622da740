"""What the process is allowed and how it shares itself: settings, memory, what is kept, turns."""
