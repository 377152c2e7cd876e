"""Stage 3: decode features from responses, fold by fold."""
