"""One servicer per service: it turns messages into values, holds one transaction, and turns back.

A handler takes `(request, call)`; the pipeline has authenticated, authorized and validated. Logic that is more
than that lives in the modules above this folder (sessions.py, passwords.py …); SQL lives in storage/.
"""
