"""What opens and seals v3's envelopes, files and sessions. The relay never imports this package."""
