"""The programs of examples/, run as their readers run them."""
