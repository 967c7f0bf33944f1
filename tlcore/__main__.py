"""`python -m tlcore`."""

from __future__ import annotations

import sys

from tlcore.cli import main

sys.exit(main())
