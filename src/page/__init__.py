"""The page: its tabs, its views and its API functions. Only app.py imports it."""
