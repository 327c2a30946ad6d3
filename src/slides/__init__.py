"""A whole slide to tiles, their scores and the files that describe them. Knows neither the page nor HTTP."""
