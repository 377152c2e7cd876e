"""Stage 4: generate pictures from decoded features."""
