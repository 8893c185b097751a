"""The trained models as they are run."""
