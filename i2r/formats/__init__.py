"""Readers of users' tables and files: what they may look like, and what is wrong with them."""
