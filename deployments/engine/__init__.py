"""The engine replica: an engine's own OpenAI server behind a door, inside a Serve replica."""
