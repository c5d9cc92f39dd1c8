"""What lies in deploy fits what the relay is."""
