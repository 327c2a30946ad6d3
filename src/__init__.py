"""What the running app needs. Imports nothing of `train`."""

import sys

# On an older Python an import would fail with a traceback that does not name the reason.
if sys.version_info < (3, 11):  # noqa: UP036 - the reader's Python is not the one that the linter assumes
    sys.exit(f"Vigil needs Python 3.11, and this is Python {sys.version.split()[0]}.")
