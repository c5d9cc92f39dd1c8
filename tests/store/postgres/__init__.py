"""Tests of the mailboxes in PostgreSQL, on a real server."""
