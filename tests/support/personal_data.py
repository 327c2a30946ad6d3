"""A visitor's data, which nothing may store. All of them contain a text that matches CANARY."""

import re

NAME = "Canary-Jane-Doe"
EXIF = "Canary-Exif-Born-1960"
TOKEN = "canary-token-of-a-visitor"
CANARY = re.compile(rb"canary|jane.doe|born.1960", re.IGNORECASE)
