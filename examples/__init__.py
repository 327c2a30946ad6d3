"""Pictures to click on, and the script that draws them (`examples.draw`)."""
