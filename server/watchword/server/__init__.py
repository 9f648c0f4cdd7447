"""The Watchword server: interceptors, one servicer per service, repositories over PostgreSQL."""
