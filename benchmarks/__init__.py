"""Benchmarks: what raymux costs, measured against the same engine without it."""
