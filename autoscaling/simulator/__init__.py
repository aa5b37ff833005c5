"""Replays traces through the scaling policy and its rivals: what a policy costs, and whom it makes wait."""
