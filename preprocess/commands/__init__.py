"""The `pgsam-plan` command."""
