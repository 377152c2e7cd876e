"""Stage 6: write pages, of each participant and of the group."""
