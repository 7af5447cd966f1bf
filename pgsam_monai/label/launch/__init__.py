"""What `pgsam label` checks and starts."""
