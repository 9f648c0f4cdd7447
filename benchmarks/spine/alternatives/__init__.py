"""Applications that guard a route as others do, beside the same one guarded by Watchword: called in this process."""
