"""One call of a visitor, answered."""
