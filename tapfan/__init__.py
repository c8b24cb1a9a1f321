"""What every tapfan process shares: records, wire, sockets, settings, logs, and the `tapfan` command."""

import os

# numpy would start threads for linear algebra, of which there is none here; they cost memory and time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
