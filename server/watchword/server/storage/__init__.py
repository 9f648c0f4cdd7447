"""Everything that knows SQL. `database` has the two doors; beside it one repository per aggregate."""
