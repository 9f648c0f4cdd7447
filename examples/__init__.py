"""Applications that ask Watchword: one command each, see README.md."""
