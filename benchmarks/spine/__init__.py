"""The spine: accounts, sign-ins, sessions and tokens, and what the server takes; and how others do the same."""
