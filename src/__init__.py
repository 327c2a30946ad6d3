"""What the running app needs. Imports nothing of `train`."""

import sys

# A room would fail on an older Python with a traceback that does not name the reason.
if sys.version_info < (3, 11):  # noqa: UP036 - the reader's Python is not the one that the linter assumes
    sys.exit(f"Vigil needs Python 3.11, and this is Python {sys.version.split()[0]}.")
