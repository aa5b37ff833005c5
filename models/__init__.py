"""The demo models: weights, and the scripts that train them from generated text."""
