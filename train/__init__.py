"""What makes a checkpoint. May import `src`; the running app never imports this."""

import os

# albumentations asks the network for its newest version at import unless told not to before.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
