"""What is known of a model -> the Evidence tab, as HTML."""

MIN_CASES = 20
"""Of fewer cases no figure is given: the exact 95% interval of 10 in 20 spans 46 points."""
