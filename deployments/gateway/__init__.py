"""The gateway: a Starlette app on Serve that reads a request, finds its model and relays it to a ready replica."""
