"""Where this project is."""

from __future__ import annotations

from pathlib import Path

# The folder that holds the rooms; relative paths of a configuration start here, on every node of a cluster.
PROJECT = Path(__file__).resolve().parents[1]
