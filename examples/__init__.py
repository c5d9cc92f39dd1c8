"""Small programs that use the client as a library."""
