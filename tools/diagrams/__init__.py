"""Diagrams that are drawn from what runs: machines from their tables, exchanges from their frames.

``python -m tools.diagrams`` puts them into the pages of docs that have a place for them.
"""
