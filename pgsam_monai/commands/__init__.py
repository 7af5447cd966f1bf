"""The `pgsam` command, a file per subcommand."""
