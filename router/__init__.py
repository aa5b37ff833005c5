"""Pure decisions about one request: name to model, variant and replica."""
