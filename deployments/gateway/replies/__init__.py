"""Replies that are kept: recorded, replayed, cached, and given again to who asks with the same Idempotency-Key."""
