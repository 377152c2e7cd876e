"""``python -m bids_recon`` is ``bids-recon``."""

from bids_recon.cli import main

raise SystemExit(main())
