"""config.json and evaluation.json -> model cards."""
