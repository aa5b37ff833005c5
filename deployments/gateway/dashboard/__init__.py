"""The dashboard: one page, and the stream of what it shows."""
