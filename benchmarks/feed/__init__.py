"""The feed: what an answer costs in the caller's process, and how soon it is taken back everywhere."""
