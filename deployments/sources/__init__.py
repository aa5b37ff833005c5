"""Brings the files of remote sources to this node, and keeps them."""
