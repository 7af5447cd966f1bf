"""The two servers, started on this machine, and clients that click over HTTP as the viewers do."""
