"""From the bytes of a file to an upright 8-bit RGB picture, or to a refusal with its reason."""
