"""The model manager: starts, stops and updates the applications of model variants, and tells gateways who is ready."""
