"""Users read straight from the database of another application, for `watchword import`.

    layouts     which columns of which table hold what, for each kind of application
    databases   PostgreSQL, MySQL and SQLite: opened for reading only, read as a stream in one snapshot
    rows        what a row says, made into a user
    hash_kinds  names for password hashes that cannot be verified
    trial       what the server would say, without one: for --dry-run
    summary     what is told in the end
    run         all of it, one after the other
    commands    the command line

Only `commands` and `layouts` are loaded with the command line; the others need libraries that take their time.
"""
