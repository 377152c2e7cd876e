"""The only place that knows paths and file names."""
