"""One module per view: values -> HTML."""
