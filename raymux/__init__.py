"""What a user of the service installs. The command line and the client library come with a later release."""

__version__ = "0.1.0"
