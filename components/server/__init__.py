"""The process around the pages: start, status, sign-in, options, what is watched."""
