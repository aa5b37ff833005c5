"""The words everyone shares: models, variants, GPU shapes, names, errors and settings."""
