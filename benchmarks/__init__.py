"""What the relay is worth: see README.md."""
