"""What is to be done for a participant, found, checked, and held as data."""
