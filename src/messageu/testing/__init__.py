"""What tests of messageu, and of what is built on it, are made with. Import the modules."""
