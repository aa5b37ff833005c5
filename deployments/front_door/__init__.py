"""The front door of the fast path: Serve's HAProxy ingress, with its generated configuration mended."""
