"""Many images to files of rows, part by part, on one machine or on many. Knows neither the page nor HTTP."""
