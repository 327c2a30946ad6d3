"""The trainer: from datasets to checkpoint folders. It may import `src`; the running app never imports it."""

import os

# When imported, albumentations looks up its newest version on the internet, unless this variable is set before.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
